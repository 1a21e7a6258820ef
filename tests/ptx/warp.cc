#include "tests/ptx/warp.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "tests/ptx/lanes.h"

namespace ptx {

void die(const std::string& what) {
  std::fprintf(stderr, "ptx: %s\n", what.c_str());
  std::abort();
}

Warp::Warp(const Function& function, unsigned first_thread)
    : function_(function),
      first_thread_(first_thread),
      number_(first_thread / kLanes),
      registers_(function.register_bytes) {
  for (const Constant& constant : function.constants) {
    for (unsigned lane = 0; lane < kLanes; ++lane) {
      std::memcpy(at(constant.at, lane), &constant.value, constant.at.stride);
    }
  }
}

void Warp::begin(Block& block) {
  block_ = &block;
  predicates_.assign(function_.predicates, 0);
  predicates_[0] = kAll;
  for (const auto& [index, lanes] : function_.constant_predicates) predicates_[index] = lanes;
  const uint3 i = block.index;
  const dim3 grid = block.grid;
  for (const auto& [operand, special] : function_.specials) {
    for (unsigned lane = 0; lane < kLanes; ++lane) {
      const std::uint32_t values[] = {
          first_thread_ + lane, 0, 0, i.x, i.y, i.z, grid.x, grid.y, grid.z,
          block.threads,        1, 1, lane};
      put<std::uint32_t>(at(operand, lane), values[static_cast<unsigned>(special)], 4);
    }
  }
  groups_.assign(1, {0, kAll, false});
  current_ = {};
  ended_ = waited_ = 0;
  for (Copies& copies : copies_) {
    copies.open.clear();
    copies.groups.clear();
  }
}

void Warp::die(const std::string& what) const {
  const Instruction& i = function_.code[current_.pc];
  ptx::die(what + "\n  in " + function_.name + "\n  block " + std::to_string(block_->index.x) +
           " " + std::to_string(block_->index.y) + " " + std::to_string(block_->index.z) +
           ", threads from " + std::to_string(first_thread_) + ", line " + std::to_string(i.line) +
           ": " + std::string(block_->module.line(i.line)));
}

unsigned char* Warp::local(unsigned lane) {
  const std::uint32_t bytes = function_.local_bytes;
  if (local_.empty()) local_.resize(std::size_t{bytes} * kLanes);
  return local_.data() + std::size_t{bytes} * lane;
}

void Warp::check_shared(std::uint64_t at, unsigned bytes) const {
  const std::uint64_t room = block_->shared.bytes();
  if (at <= room && bytes <= room - at) return;
  die("shared memory at " + std::to_string(at) + " of " + std::to_string(room) + " bytes");
}

void Warp::misaligned(unsigned bytes) const {
  die("an address that is not a multiple of " + std::to_string(bytes));
}

void Warp::loads_early(const unsigned char* from, unsigned bytes) const {
  if (block_->written.holds(from, bytes)) {
    die("a load of what a kernel in front may still be writing, before griddepcontrol.wait");
  }
}

void Warp::stores(unsigned lane, unsigned char* to, unsigned bytes) {
  if (block_->shared.holds(to)) {
    check(block_->shared.write(user(lane), to, bytes));
  } else {
    if (block_->starts_early && (waited_ & mask) != mask) die("a store before griddepcontrol.wait");
    block_->written.add(to, bytes);
  }
}

void Warp::begin_copy(unsigned lane, unsigned char* to, const unsigned char* from, bool present) {
  check(block_->shared.begin_copy(user(lane), to, 16));
  copies_[lane].open.push_back({to, from, present});
}

void Warp::begin_group(unsigned lane) {
  Copies& copies = copies_[lane];
  copies.groups.push_back(std::exchange(copies.open, {}));
}

// What is copied is there now, and was not before.
void Warp::wait_for_groups(unsigned lane, std::size_t most) {
  Copies& copies = copies_[lane];
  if (copies.groups.size() <= most) return;
  const auto behind = copies.groups.end() - static_cast<std::ptrdiff_t>(most);
  for (auto group = copies.groups.begin(); group != behind; ++group) {
    for (const Copy& copy : *group) {
      check(block_->shared.end_copy(user(lane), copy.to, 16));
      copy.present ? std::memcpy(copy.to, copy.from, 16) : std::memset(copy.to, 0, 16);
    }
  }
  copies.groups.erase(copies.groups.begin(), behind);
}

void Warp::jump(std::uint32_t target) {
  const std::uint32_t others = current_.lanes & ~mask;
  if (others == 0) {
    current_.pc = target - 1;  // run_group adds one
    return;
  }
  groups_.push_back({target, mask, false});
  current_.lanes = others;
  stopped_ = true;  // and goes on behind this instruction
}

void Warp::end_lanes() {
  if (block_->starts_early && (mask & ~waited_) != 0) {
    die("a kernel that may start early, a thread of which ends without griddepcontrol.wait");
  }
  ended_ |= mask;
  current_.lanes &= ~mask;
  stopped_ = true;
}

bool Warp::together(std::uint32_t members) {
  if ((members & mask) == members) {
    if ((mask & ~members) != 0) die("a lane that is no member of its own exchange");
    return true;
  }
  if ((members & ended_) != 0) die("lanes wait for lanes that have ended");
  current_.waits = true;
  stopped_ = true;
  return false;
}

void Warp::wait_at_barrier() {
  at_barrier_ = true;
  stopped_ = true;
}

// Puts the running group back and takes the one that is furthest behind; groups that meet are one.
void Warp::schedule() {
  if (current_.lanes != 0) groups_.push_back(current_);
  current_ = {};
  std::sort(groups_.begin(), groups_.end(),
            [](const Group& a, const Group& b) { return a.pc < b.pc; });
  std::size_t met = 0;  // so many are left
  for (const Group& group : groups_) {
    if (met > 0 && groups_[met - 1].pc == group.pc) {
      groups_[met - 1].lanes |= group.lanes;
      groups_[met - 1].waits = false;
    } else {
      groups_[met++] = group;
    }
  }
  groups_.resize(met);
  const auto next =
      std::find_if(groups_.begin(), groups_.end(), [](const Group& group) { return !group.waits; });
  if (next == groups_.end()) {
    if (groups_.empty()) return;
    current_ = groups_.front();
    die("lanes wait for lanes that wait elsewhere");
  }
  current_ = *next;
  groups_.erase(next);
}

void Warp::run_group() {
  std::uint32_t meets = ~0u;
  for (const Group& group : groups_) {
    if (group.pc > current_.pc) meets = std::min(meets, group.pc);
  }
  stopped_ = false;
  const std::vector<Instruction>& code = function_.code;
  for (;;) {
    const Instruction& i = code[current_.pc];
    const std::uint32_t guard = predicates_[i.guard];
    mask = current_.lanes & (i.guard_negated ? ~guard : guard);
    if (mask != 0) i.run(*this, i);
    if (current_.waits) return;  // and comes again
    ++current_.pc;
    if (stopped_ || current_.pc >= meets) return;
  }
}

Warp::State Warp::run() {
  at_barrier_ = false;
  pass_barrier();
  for (;;) {
    schedule();
    if (current_.lanes == 0) return State::kEnded;
    run_group();
    if (at_barrier_) return State::kAtBarrier;
  }
}

}  // namespace ptx
