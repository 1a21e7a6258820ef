#include "core/memory/kv_store.h"

#include <algorithm>
#include <string>

#include "core/base/assert.h"
#include "core/base/bytes.h"
#include "core/base/log.h"

namespace rt {

KvStore::KvStore(OpenDevice& device, KvPlan plan) : device_(device), plan_(std::move(plan)) {}

KvStore::~KvStore() {
  (void)device_.synchronize();
}

KvStore::Slot KvStore::add(std::uint64_t budget_tokens) {
  const auto unused = std::find_if(sequences_.begin(), sequences_.end(),
                                   [](const Sequence& sequence) { return !sequence.used; });
  const auto slot = static_cast<Slot>(unused - sequences_.begin());
  if (unused == sequences_.end()) sequences_.emplace_back();
  Sequence& sequence = sequences_[slot];
  sequence = {};
  sequence.used = true;
  sequence.budget = budget_tokens;
  sequence.max_tokens = plan_.problem().context_tokens;
  sequence.areas.resize(plan_.classes().size());
  return slot;
}

void KvStore::remove(Slot slot) {
  RT_ASSERT(slot < sequences_.size() && sequences_[slot].used);
  // A fault here was reported by the step that met it; the memory goes back all the same.
  (void)device_.synchronize();
  sequences_[slot] = {};
  check_ledger();
}

void KvStore::set_budget(Slot slot, std::uint64_t budget_tokens) {
  sequences_[slot].budget = budget_tokens;
}

std::vector<KvNeed> KvStore::needs(std::uint32_t c, std::span<const Demand> demands) const {
  std::vector<KvNeed> needs(sequences_.size());
  for (std::size_t i = 0; i < sequences_.size(); ++i) {
    const Sequence& sequence = sequences_[i];
    if (!sequence.used) continue;
    needs[i] = {sequence.length, sequence.areas[c].capacity, sequence.budget};
  }
  for (const Demand& demand : demands) {
    needs[demand.slot].tokens = std::max(needs[demand.slot].tokens, demand.tokens);
  }
  return needs;
}

// capacities[class][slot]; unused slots 0.
Result<std::vector<std::vector<std::uint64_t>>> KvStore::ask_capacities(
    std::span<const Demand> demands) const {
  std::vector<std::vector<std::uint64_t>> all;
  for (std::uint32_t c = 0; c < plan_.classes().size(); ++c) {
    const std::vector<KvNeed> wanted = needs(c, demands);
    std::vector<KvNeed> used;
    for (std::size_t i = 0; i < sequences_.size(); ++i) {
      if (sequences_[i].used) used.push_back(wanted[i]);
    }
    RT_TRY(const auto answer, plan_.capacities(c, used));
    std::vector<std::uint64_t> by_slot(sequences_.size(), 0);
    for (std::size_t i = 0, k = 0; i < sequences_.size(); ++i) {
      if (sequences_[i].used) by_slot[i] = answer[k++];
    }
    all.push_back(std::move(by_slot));
  }
  return all;
}

// Refuses growth that the limit does not allow, before anything is taken.
Status KvStore::admit(const std::vector<std::vector<std::uint64_t>>& capacities) const {
  std::uint64_t more = 0;
  for (std::uint32_t c = 0; c < capacities.size(); ++c) {
    for (std::size_t i = 0; i < sequences_.size(); ++i) {
      if (!sequences_[i].used) continue;
      const std::uint64_t held = plan_.bytes(c, sequences_[i].areas[c].capacity);
      const std::uint64_t wanted = plan_.bytes(c, capacities[c][i]);
      if (wanted > held) more += wanted - held;
    }
  }
  const Ledger& ledger = device_.ledger();
  const std::uint64_t owned = ledger.now().owned();
  if (owned <= ledger.limit_bytes() && more <= ledger.limit_bytes() - owned) return {};
  return environment("memory limit: the KV cache wants " + format_bytes(more) + " more; " +
                     format_bytes(owned) + " of " + format_bytes(ledger.limit_bytes()) +
                     " are in use");
}

bool KvStore::fits(std::span<const Demand> demands) const {
  for (const Demand& demand : demands) {
    for (const Area& area : sequences_[demand.slot].areas) {
      if (area.capacity < demand.tokens) return false;
    }
  }
  return true;
}

Status KvStore::make_room(std::span<const Demand> demands) {
  for (const Demand& demand : demands) {
    const std::uint64_t most = sequences_[demand.slot].max_tokens;
    if (demand.tokens > most) {
      return bad_input("the context is full: " + std::to_string(demand.tokens) +
                       " tokens do not fit in " + std::to_string(most));
    }
  }
  // Most steps fit in what stands: those ask nobody and allocate nothing.
  if (fits(demands)) return {};
  RT_TRY(const auto capacities, ask_capacities(demands));
  RT_RETURN_IF_ERROR(admit(capacities));
  for (std::uint32_t c = 0; c < capacities.size(); ++c) {
    for (Slot slot = 0; slot < sequences_.size(); ++slot) {
      if (!sequences_[slot].used) continue;
      if (capacities[c][slot] > sequences_[slot].areas[c].capacity) {
        RT_RETURN_IF_ERROR(grow(c, slot, capacities[c][slot]));
      }
    }
  }
  check_ledger();
  return {};
}

Status KvStore::grow(std::uint32_t c, Slot slot, std::uint64_t capacity) {
  if (plan_.classes()[c].growth == RT_GROW_COMMIT) return commit(c, slot, capacity);
  return move(c, slot, capacity);
}

Status KvStore::commit(std::uint32_t c, Slot slot, std::uint64_t capacity) {
  Sequence& sequence = sequences_[slot];
  Area& area = sequence.areas[c];
  if (!area.range) {
    RT_TRY(area.range, reserve(c, sequence));
    ++epoch_;
    // After a refused reservation the range may hold less than the planner asked room for.
    capacity = std::min(capacity, sequence.max_tokens);
  }
  RT_RETURN_IF_ERROR(area.range.resize(plan_.span_bytes(c, capacity)));
  area.capacity = capacity;
  return {};
}

// Address space for the whole context; where that is refused (ulimit -v), for the budget.
Result<AddressRange> KvStore::reserve(std::uint32_t c, Sequence& sequence) {
  const KvClass& kv_class = plan_.classes()[c];
  auto range =
      AddressRange::make(device_, MemoryKind::kKv, plan_.span_bytes(c, kv_class.reserve_tokens));
  if (range.ok() || sequence.budget == 0 || sequence.budget >= kv_class.reserve_tokens) {
    return range;
  }
  spdlog::warn("{}; reserving the budget of {} tokens instead of the context of {}",
               range.error().message, sequence.budget, kv_class.reserve_tokens);
  sequence.max_tokens = std::min(sequence.max_tokens, sequence.budget);
  return AddressRange::make(device_, MemoryKind::kKv, plan_.span_bytes(c, sequence.budget));
}

Status KvStore::move(std::uint32_t c, Slot slot, std::uint64_t capacity) {
  Sequence& sequence = sequences_[slot];
  Area& area = sequence.areas[c];
  if (area.buffer && plan_.classes()[c].growth == RT_GROW_NEVER) {
    return bad_input("planner " + plan_.planner_name() + ": asks a class that never grows for " +
                     std::to_string(capacity) + " tokens after " + std::to_string(area.capacity));
  }
  RT_TRY(Buffer bigger, Buffer::make(device_, MemoryKind::kKv, plan_.span_bytes(c, capacity)));
  if (area.buffer) {
    RT_RETURN_IF_ERROR(
        copy_rows(c, sequence, area.buffer.data(), area.capacity, bigger.data(), capacity));
    RT_RETURN_IF_ERROR(device_.synchronize());
    ++device_.ledger().events.address_changes;
  }
  area.buffer = std::move(bigger);
  area.capacity = capacity;
  ++epoch_;
  return {};
}

namespace {

// Byte offset of token t's row in an area, and how many rows follow it without a break.
struct RowRun {
  std::uint64_t offset;
  std::uint64_t rows;
};

RowRun row_run(const rt_kv_layout& layout, std::uint64_t stream_offset, std::uint64_t row_bytes,
               std::uint64_t t) {
  std::uint64_t stripe = t / layout.stripe_tokens;
  if (layout.form == RT_KV_RING) stripe %= layout.ring_stripes;
  const std::uint64_t row = t % layout.stripe_tokens;
  return {stripe * layout.stripe_bytes + stream_offset + row * row_bytes,
          layout.stripe_tokens - row};
}

}  // namespace

Status KvStore::copy_rows(std::uint32_t c, const Sequence& sequence, std::byte* from,
                          std::uint64_t from_capacity, std::byte* to, std::uint64_t to_capacity) {
  const KvClass& kv_class = plan_.classes()[c];
  // A ring holds the last ring_tokens tokens at most.
  const std::uint64_t first =
      sequence.length - std::min(sequence.length, std::min(from_capacity, kv_class.ring_tokens));
  for (const std::uint32_t layer : kv_class.layers) {
    const rt_kv_layout source = plan_.layout(layer, from_capacity);
    const rt_kv_layout target = plan_.layout(layer, to_capacity);
    for (const bool values : {false, true}) {
      const std::uint64_t row_bytes = values ? source.v_row_bytes : source.k_row_bytes;
      for (std::uint64_t t = first; t < sequence.length;) {
        const RowRun out =
            row_run(source, values ? source.v_offset : source.k_offset, row_bytes, t);
        const RowRun in = row_run(target, values ? target.v_offset : target.k_offset, row_bytes, t);
        const std::uint64_t rows = std::min({out.rows, in.rows, sequence.length - t});
        RT_RETURN_IF_ERROR(device_.copy(to + in.offset, from + out.offset, rows * row_bytes));
        device_.ledger().events.copied_bytes += rows * row_bytes;
        t += rows;
      }
    }
  }
  return {};
}

void KvStore::advance(Slot slot, std::uint64_t tokens) {
  Sequence& sequence = sequences_[slot];
  sequence.length = tokens;
  sequence.high_water = std::max(sequence.high_water, tokens);
}

std::uint64_t KvStore::truncate(Slot slot, std::uint64_t n) {
  Sequence& sequence = sequences_[slot];
  RT_ASSERT_LE(n, sequence.length);
  for (const KvClass& kv_class : plan_.classes()) {
    if (kv_class.form != RT_KV_RING) continue;
    // The ring holds [high_water - slots, high_water); the next query looks back W - 1 tokens.
    const std::uint64_t stripe = std::max<std::uint64_t>(1, kv_class.stripe_tokens);
    const std::uint64_t held = round_up(kv_class.ring_tokens, stripe);
    const std::uint64_t oldest = sequence.high_water - std::min(sequence.high_water, held);
    const std::uint64_t back = std::uint64_t{kv_class.window} - 1;
    if (n - std::min(n, back) < oldest) n = 0;
  }
  sequence.length = n;
  if (n == 0) sequence.high_water = 0;
  return n;
}

// A ring that has wrapped keeps its stripes: tokens lie anywhere in it.
std::uint64_t KvStore::kept_capacity(std::uint32_t c, const Sequence& sequence,
                                     std::uint64_t wanted) const {
  const KvClass& kv_class = plan_.classes()[c];
  const std::uint64_t now = sequence.areas[c].capacity;
  const bool wrapped = kv_class.form == RT_KV_RING && sequence.high_water > kv_class.ring_tokens;
  return wrapped ? now : std::min(now, wanted);
}

Status KvStore::trim() {
  RT_TRY(const auto capacities, ask_capacities({}));
  for (std::uint32_t c = 0; c < capacities.size(); ++c) {
    const bool by_commit = plan_.classes()[c].growth == RT_GROW_COMMIT;
    for (Slot slot = 0; slot < sequences_.size(); ++slot) {
      Sequence& sequence = sequences_[slot];
      if (!sequence.used) continue;
      Area& area = sequence.areas[c];
      const std::uint64_t keep = kept_capacity(c, sequence, capacities[c][slot]);
      if (keep >= area.capacity) continue;
      if (by_commit) {
        RT_RETURN_IF_ERROR(area.range.resize(plan_.span_bytes(c, keep)));
        area.capacity = keep;
      } else if (keep == 0) {
        RT_RETURN_IF_ERROR(device_.synchronize());
        area = {};
        ++epoch_;
      }
    }
  }
  check_ledger();
  return {};
}

std::byte* KvStore::data(const Area& area) const {
  return area.range ? area.range.data() : area.buffer.data();
}

rt_kv_layout KvStore::layout(std::uint32_t layer) const {
  const std::uint32_t c = plan_.place(layer).first;
  std::uint64_t capacity = 0;
  for (const Sequence& sequence : sequences_) {
    if (sequence.used) capacity = std::max(capacity, sequence.areas[c].capacity);
  }
  return plan_.layout(layer, capacity);
}

std::uint64_t KvStore::base(std::uint32_t c, Slot slot) const {
  return reinterpret_cast<std::uint64_t>(data(sequences_[slot].areas[c]));
}

std::vector<std::pair<const void*, std::uint64_t>> KvStore::ranges() const {
  std::vector<std::pair<const void*, std::uint64_t>> ranges;
  for (const Sequence& sequence : sequences_) {
    for (const Area& area : sequence.areas) {
      const std::uint64_t bytes = area.range ? area.range.committed() : area.buffer.bytes();
      if (bytes > 0) ranges.emplace_back(data(area), bytes);
    }
  }
  return ranges;
}

void KvStore::check_ledger() const {
  std::uint64_t planned = 0;
  for (const Sequence& sequence : sequences_) {
    for (std::uint32_t c = 0; c < sequence.areas.size(); ++c) {
      planned += plan_.bytes(c, sequence.areas[c].capacity);
    }
  }
  RT_ASSERT_EQ(planned, device_.ledger().now()[MemoryKind::kKv]);
}

}  // namespace rt
