// 32 lanes that run a function in lockstep, as far as they agree.
//
// Lanes that part are run group by group, the one that is furthest behind in the text first, so
// that they meet again where nvcc's layout lets them. What a GPU leaves undefined ends the program
// instead: a barrier, shuffle or product of matrices that some of its lanes never reach, an address
// that is not a multiple of what is read there, shared memory beyond what the launch gave.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

#include "tests/cuda_emulation/include/cuda_runtime.h"
#include "tests/ptx/program.h"
#include "tests/ptx/shared_memory.h"
#include "tests/ptx/written.h"

namespace ptx {

constexpr unsigned kLanes = 32;
constexpr std::uint32_t kAll = 0xffffffffu;

// What the warps of a block share.
struct Block {
  Module& module;
  const unsigned char* parameters;
  SharedMemory& shared;
  uint3 index;
  unsigned threads;
  dim3 grid;
  bool starts_early;
  Written& written;
};

class Warp {
 public:
  Warp(const Function& function, unsigned first_thread);

  // From the first instruction on; registers hold what they held.
  void begin(Block& block);
  enum class State { kAtBarrier, kEnded };
  // Until the block's barrier or the end.
  State run();

  // --- for instructions

  std::uint32_t mask = 0;  // of the lanes that run this one

  unsigned char* at(Operand operand, unsigned lane) {
    return registers_.data() + operand.offset + lane * operand.stride;
  }
  std::uint32_t& predicate(std::uint32_t index) { return predicates_[index]; }
  Block& block() { return *block_; }
  // The host's address of what an instruction names; checks its multiple, a power of two, and the
  // bounds of shared memory.
  unsigned char* address(const Instruction& i, Operand base, unsigned lane, unsigned bytes) {
    std::uint64_t at = 0;
    const unsigned char* const from = this->at(base, lane);
    base.stride == 8 ? std::memcpy(&at, from, 8) : std::memcpy(&at, from, 4);
    at += static_cast<std::uint64_t>(static_cast<std::int64_t>(i.displacement));
    if (i.space == Space::kShared) {
      check_shared(at, bytes);
      at += reinterpret_cast<std::uint64_t>(block_->shared.base());
    } else if (i.space == Space::kParam) {
      at += reinterpret_cast<std::uint64_t>(block_->parameters);
    } else if (i.space == Space::kLocal) {
      at += reinterpret_cast<std::uint64_t>(local(lane));
    }
    if ((at & (bytes - 1)) != 0) misaligned(bytes);
    return reinterpret_cast<unsigned char*>(at);
  }
  // For loads and stores, by the space that the address lies in: what a kernel may not do before
  // the kernels in front have ended, and what warps may not do beside each other.
  void loads(unsigned lane, const unsigned char* from, unsigned bytes) {
    if (block_->shared.holds(from)) {
      check(block_->shared.read(user(lane), from, bytes));
    } else if (block_->starts_early && (waited_ & mask) != mask) {
      loads_early(from, bytes);
    }
  }
  void stores(unsigned lane, unsigned char* to, unsigned bytes);
  // cp.async of 16 bytes, zeros where not present.
  void begin_copy(unsigned lane, unsigned char* to, const unsigned char* from, bool present);
  void begin_group(unsigned lane);
  void wait_for_groups(unsigned lane, std::size_t most);
  unsigned char* local(unsigned lane);
  void jump(std::uint32_t target);
  void end_lanes();
  void after_previous() { waited_ |= mask; }
  // True: all lanes of `members` run this instruction; else they are waited for.
  bool together(std::uint32_t members);
  void wait_at_barrier();
  void pass_barrier() { turn_ = block_->shared.new_turn(); }  // of the warp
  [[noreturn]] void die(const std::string& what) const;

 private:
  struct Group {
    std::uint32_t pc;
    std::uint32_t lanes;
    bool waits;
  };
  struct Copy {
    unsigned char* to;
    const unsigned char* from;
    bool present;
  };
  // Of a lane: begun, and in groups.
  struct Copies {
    std::vector<Copy> open;
    std::vector<std::vector<Copy>> groups;
  };
  void loads_early(const unsigned char* from, unsigned bytes) const;
  void check_shared(std::uint64_t at, unsigned bytes) const;
  SharedMemory::User user(unsigned lane) const { return {number_, lane, turn_}; }
  void check(const char* complaint) const {
    if (complaint != nullptr) die(complaint);
  }
  [[noreturn]] void misaligned(unsigned bytes) const;
  void schedule();
  void run_group();

  const Function& function_;
  Block* block_ = nullptr;
  unsigned first_thread_;
  unsigned number_;         // among the warps of the block
  std::uint64_t turn_ = 0;  // as SharedMemory counts them
  std::vector<unsigned char> registers_;
  std::vector<std::uint32_t> predicates_;
  std::vector<unsigned char> local_;
  std::vector<Group> groups_;
  Group current_{};
  bool stopped_ = false;  // the running group does not go on
  bool at_barrier_ = false;
  std::uint32_t ended_ = 0;
  std::uint32_t waited_ = 0;  // lanes that made after_previous()
  Copies copies_[kLanes];
};

}  // namespace ptx
