#include "core/memory/kv_areas.h"

#include <algorithm>
#include <string>
#include <utility>

#include "core/base/assert.h"
#include "core/base/bytes.h"
#include "core/base/log.h"

namespace rt {

void KvAreas::clear(KvSlot slot) {
  if (slot >= areas_.size()) areas_.resize(slot + std::size_t{1});
  const std::uint64_t before = areas_[slot].bytes();
  areas_[slot] = {};
  tell_change(slot, before, 0);
}

void KvAreas::tell_change(KvSlot slot, std::uint64_t before, std::uint64_t tokens) const {
  const std::uint64_t now = areas_[slot].bytes();
  if (now > before) tell(KvEventKind::kCommit, slot, now - before, tokens);
  if (now < before) tell(KvEventKind::kDecommit, slot, before - now, tokens);
}

namespace {

std::uint64_t largest(std::span<const KvGrowth> growths) {
  std::uint64_t capacity = 0;
  for (const KvGrowth& growth : growths) capacity = std::max(capacity, growth.capacity);
  return capacity;
}

}  // namespace

// Whether a sequence without tokens stands in another layout than the one to come.
bool KvAreas::gives_up(const KvGrowth& growth, std::uint64_t capacity) const {
  return moves_together() && growth.capacity == 0 && areas_[growth.slot].capacity > 0 &&
         capacity > 0 && areas_[growth.slot].capacity != capacity;
}

void KvAreas::tally(std::span<const KvGrowth> growths, KvTally& tally) const {
  const std::uint64_t capacity = largest(growths);
  std::uint64_t old = 0;  // kept until all have moved
  for (const KvGrowth& growth : growths) {
    if (gives_up(growth, capacity)) tally.give_back(bytes(growth.slot));
  }
  for (const KvGrowth& growth : growths) {
    if (!must_grow(growth)) continue;
    const std::uint64_t before = bytes(growth.slot);
    const std::uint64_t after = plan().bytes(class_index_, growth.capacity);
    if (!moves()) {
      tally.commit(after - before);
      continue;
    }
    tally.take(after);
    if (moves_together()) {
      old += before;
    } else {
      tally.give_back(before);
    }
  }
  tally.give_back(old);
}

Status KvAreas::grow(std::span<const KvGrowth> growths) {
  if (moves_together()) return grow_together(growths);
  for (const KvGrowth& growth : growths) {
    if (must_grow(growth)) RT_RETURN_IF_ERROR(grow_one(growth));
  }
  return {};
}

Status KvAreas::grow_one(const KvGrowth& growth) {
  if (moves()) {
    RT_TRY(Move move, begin_move(growth));
    RT_RETURN_IF_ERROR(copy(move));
    end_move(std::move(move));
    return {};
  }
  const std::uint64_t before = areas_[growth.slot].bytes();
  RT_RETURN_IF_ERROR(commit(growth));
  tell_change(growth.slot, before, growth.tokens);
  return {};
}

Status KvAreas::grow_together(std::span<const KvGrowth> growths) {
  const std::uint64_t capacity = largest(growths);
  for (const KvGrowth& growth : growths) {
    if (gives_up(growth, capacity)) RT_RETURN_IF_ERROR(give_up(growth.slot, growth.tokens));
  }
  std::vector<Move> all;
  for (const KvGrowth& growth : growths) {
    if (!must_grow(growth)) continue;
    RT_TRY(Move move, begin_move(growth));
    all.push_back(std::move(move));
  }
  for (const Move& move : all) RT_RETURN_IF_ERROR(copy(move));
  for (Move& move : all) end_move(std::move(move));
  return {};
}

Status KvAreas::commit(const KvGrowth& growth) {
  Area& area = areas_[growth.slot];
  if (!area.range) {
    RT_RETURN_IF_ERROR(reserve(growth));
    ++context_.epoch;
  }
  // After a refused reservation the range may hold less than the planner asked room for.
  const std::uint64_t capacity = std::min(growth.capacity, growth.sequence->max_tokens);
  RT_RETURN_IF_ERROR(area.range.resize(plan().span_bytes(class_index_, capacity)));
  area.capacity = capacity;
  return {};
}

// Address space for reserve_tokens. Where that is refused (ulimit -v): for a declared budget and no
// less, for it was admitted whole; under an open one for as much as is to be had by halves.
Status KvAreas::reserve(const KvGrowth& growth) {
  KvSequence& sequence = *growth.sequence;
  const std::uint64_t wanted = std::min(sequence.max_tokens, kv_class().reserve_tokens);
  const std::uint64_t least = std::max(growth.tokens, std::min(sequence.budget, wanted));
  const auto range_for = [&](std::uint64_t tokens) {
    return AddressRange::make(device(), MemoryKind::kKv, plan().span_bytes(class_index_, tokens));
  };
  std::uint64_t tokens = wanted;
  auto range = range_for(tokens);
  const std::string refusal = range.ok() ? "" : range.error().message;
  while (!range.ok() && tokens > least) {
    tokens = sequence.budget > 0 ? least : std::max(least, tokens / 2);
    range = range_for(tokens);
  }
  if (!range.ok()) {
    return in("KV cache: " + std::to_string(tokens) + " tokens", std::move(range).error());
  }
  if (tokens < wanted) {
    log_warning(refusal + "; reserving " + std::to_string(tokens) + " tokens instead of " +
                std::to_string(wanted) + ", and no more will fit before the sequence is emptied");
    sequence.max_tokens = tokens;
  }
  areas_[growth.slot].range = std::move(range).value();
  return {};
}

Result<KvAreas::Move> KvAreas::begin_move(const KvGrowth& growth) {
  const Area& area = areas_[growth.slot];
  if (area.buffer && kv_class().growth == RT_GROW_NEVER) {
    return bad_input("planner " + plan().planner_name() + ": asks a class that never grows for " +
                     std::to_string(growth.capacity) + " tokens after " +
                     std::to_string(area.capacity));
  }
  RT_TRY(Buffer to,
         Buffer::make(device(), MemoryKind::kKv, plan().span_bytes(class_index_, growth.capacity)));
  return Move{&growth, std::move(to)};
}

Status KvAreas::copy(const Move& move) {
  const KvGrowth& growth = *move.growth;
  const Area& area = areas_[growth.slot];
  if (!area.buffer) return {};
  RT_RETURN_IF_ERROR(copy_rows(growth.slot, *growth.sequence, {area.data(), area.capacity},
                               {move.to.data(), growth.capacity}));
  return device().synchronize();
}

// The rows are there.
void KvAreas::end_move(Move move) {
  const KvGrowth& growth = *move.growth;
  Area& area = areas_[growth.slot];
  const std::uint64_t before = area.bytes();
  if (area.buffer) {
    ++device().ledger().events.address_changes;
    tell(KvEventKind::kAddressChange, growth.slot, before, growth.sequence->length);
  }
  area.buffer = std::move(move.to);
  area.capacity = growth.capacity;
  ++context_.epoch;
  tell_change(growth.slot, before, growth.tokens);
}

// Work in flight may still read the area.
Status KvAreas::give_up(KvSlot slot, std::uint64_t tokens) {
  RT_RETURN_IF_ERROR(device().synchronize());
  const std::uint64_t before = areas_[slot].bytes();
  areas_[slot] = {};
  ++context_.epoch;
  tell_change(slot, before, tokens);
  return {};
}

void KvAreas::tally_fork(const KvGrowth& to, KvTally& tally) const {
  const std::uint64_t bytes = plan().bytes(class_index_, to.capacity);
  moves() ? tally.take(bytes) : tally.commit(bytes);
}

Status KvAreas::fork(KvSlot from, const KvGrowth& to) {
  if (to.capacity == 0) return {};
  const Area& source = areas_[from];
  RT_RETURN_IF_ERROR(grow({&to, 1}));
  RT_RETURN_IF_ERROR(copy_rows(to.slot, *to.sequence, {source.data(), source.capacity},
                               {areas_[to.slot].data(), areas_[to.slot].capacity}));
  return device().synchronize();
}

// The first token whose row is still there: a ring of n slots holds [high_water - n, high_water).
std::uint64_t KvAreas::oldest(const KvSequence& sequence) const {
  if (kv_class().form != RT_KV_RING) return 0;
  const std::uint64_t stripe = std::max<std::uint64_t>(1, kv_class().stripe_tokens);
  const std::uint64_t held = round_up(kv_class().live_tokens, stripe);
  return sequence.high_water - std::min(sequence.high_water, held);
}

namespace {

// Byte offset of token t's row in an area, and how many rows follow it without a break.
struct RowRun {
  std::uint64_t offset;
  std::uint64_t rows;
};

RowRun row_run(const rt_kv_layout& layout, bool values, std::uint64_t t) {
  std::uint64_t stripe = t / layout.stripe_tokens;
  if (layout.form == RT_KV_RING) stripe %= layout.ring_stripes;
  const std::uint64_t row = t % layout.stripe_tokens;
  const std::uint64_t within = values ? layout.v_offset + row * layout.v_row_bytes
                                      : layout.k_offset + row * layout.k_row_bytes;
  return {stripe * layout.stripe_bytes + within, layout.stripe_tokens - row};
}

}  // namespace

Status KvAreas::copy_rows(KvSlot slot, const KvSequence& sequence, const Rows& from,
                          const Rows& to) {
  std::uint64_t bytes = 0;
  for (const std::uint32_t layer : kv_class().layers) {
    for (const bool values : {false, true}) {
      RT_RETURN_IF_ERROR(copy_stream(sequence, layer, values, from, to, &bytes));
    }
  }
  device().ledger().events.copied_bytes += bytes;
  if (bytes > 0) tell(KvEventKind::kCopy, slot, bytes, sequence.length);
  return {};
}

Status KvAreas::copy_stream(const KvSequence& sequence, std::uint32_t layer, bool values,
                            const Rows& from, const Rows& to, std::uint64_t* bytes) {
  const rt_kv_layout source = plan().layout(layer, from.capacity);
  const rt_kv_layout target = plan().layout(layer, to.capacity);
  const std::uint64_t row_bytes = values ? source.v_row_bytes : source.k_row_bytes;
  for (std::uint64_t t = oldest(sequence); t < sequence.length;) {
    const RowRun out = row_run(source, values, t);
    const RowRun in = row_run(target, values, t);
    const std::uint64_t rows = std::min({out.rows, in.rows, sequence.length - t});
    RT_RETURN_IF_ERROR(
        device().copy(to.data + in.offset, from.data + out.offset, rows * row_bytes));
    *bytes += rows * row_bytes;
    t += rows;
  }
  return {};
}

// The next query looks back W - 1 tokens.
std::uint64_t KvAreas::valid(KvSlot, const KvSequence& sequence, std::uint64_t n) const {
  if (kv_class().form != RT_KV_RING) return n;
  const std::uint64_t back = std::uint64_t{kv_class().window} - 1;
  return n - std::min(n, back) >= oldest(sequence) ? n : 0;
}

// A ring that has wrapped keeps its stripes: tokens lie anywhere in it. A plain allocation can only
// be given back whole.
Status KvAreas::trim(KvSlot slot, const KvSequence& sequence, std::uint64_t wanted) {
  Area& area = areas_[slot];
  const bool wrapped =
      kv_class().form == RT_KV_RING && sequence.high_water > kv_class().live_tokens;
  if (wrapped || wanted >= area.capacity) return {};
  if (moves()) return wanted == 0 ? give_up(slot, sequence.length) : Status();
  const std::uint64_t before = area.bytes();
  RT_RETURN_IF_ERROR(area.range.resize(plan().span_bytes(class_index_, wanted)));
  area.capacity = wanted;
  tell_change(slot, before, sequence.length);
  return {};
}

std::uint64_t KvAreas::base(KvSlot slot) const {
  return reinterpret_cast<std::uint64_t>(areas_[slot].data());
}

std::uint64_t KvAreas::planned_bytes() const {
  std::uint64_t sum = 0;
  for (KvSlot slot = 0; slot < areas_.size(); ++slot) sum += bytes(slot);
  return sum;
}

std::uint64_t KvAreas::uncommitted_bytes() const {
  std::uint64_t sum = 0;
  for (const Area& area : areas_) {
    if (area.range.committed() > 0) sum += area.range.reserved() - area.range.committed();
  }
  return sum;
}

void KvAreas::add_ranges(KvRanges& ranges) const {
  for (const Area& area : areas_) {
    if (area.bytes() > 0) ranges.emplace_back(area.data(), area.bytes());
  }
}

}  // namespace rt
