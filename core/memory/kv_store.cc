#include "core/memory/kv_store.h"

#include <algorithm>
#include <string>
#include <utility>

#include "core/base/assert.h"
#include "core/base/bytes.h"
#include "core/memory/kv_areas.h"
#include "core/memory/kv_tables.h"

namespace rt {

Result<std::unique_ptr<KvStore>> KvStore::make(OpenDevice& device, const KvPlan& plan) {
  std::unique_ptr<KvStore> store(new KvStore(device, plan));
  for (std::uint32_t c = 0; c < plan.classes().size(); ++c) {
    if (plan.classes()[c].form == RT_KV_TABLE) {
      RT_TRY(auto tables, KvTables::make(store->context_, c));
      store->classes_.push_back(std::move(tables));
    } else {
      store->classes_.push_back(std::make_unique<KvAreas>(store->context_, c));
    }
  }
  return store;
}

KvStore::~KvStore() {
  (void)context_.device.synchronize();
  (void)context_.device.make_ready(0);
}

KvStore::Slot KvStore::unused_slot() {
  const auto unused = std::find_if(sequences_.begin(), sequences_.end(),
                                   [](const KvSequence& sequence) { return !sequence.used; });
  const auto slot = static_cast<Slot>(unused - sequences_.begin());
  RT_ASSERT(slot < plan().problem().max_sequences);
  if (unused == sequences_.end()) sequences_.emplace_back();
  return slot;
}

KvStore::Slot KvStore::add(std::uint64_t budget_tokens) {
  const Slot slot = unused_slot();
  sequences_[slot] = {true, 0, 0, budget_tokens, plan().problem().context_tokens, ++families_};
  for (const auto& kv_class : classes_) kv_class->clear(slot);
  return slot;
}

void KvStore::remove(Slot slot) {
  RT_ASSERT(slot < sequences_.size() && sequences_[slot].used);
  // A fault here was reported by the step that met it; the memory goes back all the same.
  (void)context_.device.synchronize();
  for (const auto& kv_class : classes_) kv_class->clear(slot);
  sequences_[slot] = {};
  (void)make_ready();
  check_ledger();
}

void KvStore::set_budget(Slot slot, std::uint64_t budget_tokens) {
  sequences_[slot].budget = budget_tokens;
}

// One need per used slot, in the order of slots.
std::vector<KvNeed> KvStore::needs(std::uint32_t c) const {
  std::vector<KvNeed> needs;
  for (Slot slot = 0; slot < sequences_.size(); ++slot) {
    const KvSequence& sequence = sequences_[slot];
    if (!sequence.used) continue;
    KvNeed need{sequence.length, classes_[c]->capacity(slot), sequence.budget, 0};
    for (Slot earlier = 0; earlier < slot; ++earlier) {
      const KvSequence& other = sequences_[earlier];
      if (!other.used || other.family != sequence.family) continue;
      need.shared = std::max(need.shared, classes_[c]->shared(slot, earlier, sequence.length));
    }
    needs.push_back(need);
  }
  return needs;
}

// growths[class]: one per used slot.
Result<std::vector<std::vector<KvGrowth>>> KvStore::ask_growths(std::span<const Demand> demands) {
  std::vector<std::vector<KvGrowth>> all;
  for (std::uint32_t c = 0; c < classes_.size(); ++c) {
    std::vector<KvNeed> wanted = needs(c);
    std::vector<KvGrowth> growths;
    for (Slot slot = 0; slot < sequences_.size(); ++slot) {
      if (!sequences_[slot].used) continue;
      growths.push_back({slot, &sequences_[slot], sequences_[slot].length, 0});
    }
    for (std::size_t i = 0; i < growths.size(); ++i) {
      for (const Demand& demand : demands) {
        if (demand.slot != growths[i].slot) continue;
        growths[i].tokens = std::max(growths[i].tokens, demand.tokens);
      }
      wanted[i].tokens = growths[i].tokens;
    }
    RT_TRY(const auto answer, plan().capacities(c, wanted));
    // Without stripes the layout depends on the capacity, and all sequences share one layout.
    std::uint64_t least = 0;
    if (plan().classes()[c].stripe_tokens == 0) {
      for (const KvNeed& need : wanted) {
        if (need.tokens > 0) least = std::max(least, need.capacity);
      }
    }
    for (std::size_t i = 0; i < growths.size(); ++i) {
      growths[i].capacity = answer[i] > 0 ? std::max(answer[i], least) : 0;
    }
    all.push_back(std::move(growths));
  }
  return all;
}

namespace {

// The growths of those that stand, and that of the slot which a fork fills after them.
std::pair<std::vector<KvGrowth>, KvGrowth> apart(const std::vector<KvGrowth>& growths,
                                                 KvSlot forked) {
  std::pair<std::vector<KvGrowth>, KvGrowth> parts;
  for (const KvGrowth& growth : growths) {
    if (growth.slot == forked) {
      parts.second = growth;
    } else {
      parts.first.push_back(growth);
    }
  }
  return parts;
}

}  // namespace

// The cache's bytes, with `ready` of them ready, while the growths are carried out.
KvTally KvStore::tally(const std::vector<std::vector<KvGrowth>>& growths, const Slot* forked,
                       std::uint64_t ready) const {
  const std::uint64_t now = planned_bytes() + ready;
  KvTally tally{now, now, ready};
  for (std::size_t c = 0; c < growths.size(); ++c) {
    if (forked == nullptr) {
      classes_[c]->tally(growths[c], tally);
      continue;
    }
    const auto [others, fork] = apart(growths[c], *forked);
    classes_[c]->tally(others, tally);
    classes_[c]->tally_fork(fork, tally);
  }
  return tally;
}

// Refuses growth that the limit does not allow, before anything is taken; what is ready makes way.
// *forked, if given, is the slot that a fork fills.
Status KvStore::admit(const std::vector<std::vector<KvGrowth>>& growths, const Slot* forked) {
  OpenDevice& device = context_.device;
  const Ledger& ledger = device.ledger();
  const std::uint64_t cache = planned_bytes();
  const std::uint64_t most = tally(growths, forked, 0).most;
  const std::uint64_t others = ledger.now().owned() - ledger.now()[MemoryKind::kKv];
  const std::uint64_t limit = ledger.limit_bytes() - others;
  if (most > limit) {
    return environment("memory limit: the KV cache wants " + format_bytes(most - cache) +
                       " more; " + format_bytes(others + cache) + " of " +
                       format_bytes(ledger.limit_bytes()) + " are in use");
  }
  const std::uint64_t ready = device.ready_bytes();
  if (ready == 0) return {};
  const std::uint64_t room = std::min(limit, plan().ready_limit_bytes());
  return tally(growths, forked, ready).most > room ? device.make_ready(0) : Status();
}

// Between steps, with the next growth in view: the device makes what that will commit while the
// coming steps run.
Status KvStore::make_ready() {
  OpenDevice& device = context_.device;
  if (!plan().problem().can_make_ready) return {};
  std::uint64_t wanted = 0;
  for (std::uint32_t c = 0; c < classes_.size(); ++c) {
    wanted += plan().wants_ready(c, classes_[c]->uncommitted_bytes());
  }
  const std::uint64_t cache = planned_bytes();
  const std::uint64_t ready = plan().ready_bytes(wanted, cache);
  if (cache > 0 && ready < wanted) wanted_more_ready_ = true;
  // A session's plan knows the ledger's limit; whoever made this one may have told it another.
  const Ledger& ledger = device.ledger();
  const std::uint64_t left = ledger.limit_bytes() - ledger.now().owned() + device.ready_bytes();
  return device.make_ready(std::min(ready, left - left % plan().problem().granule_bytes));
}

std::uint64_t KvStore::room(Slot slot) const {
  std::uint64_t tokens = plan().problem().context_tokens;
  for (const auto& kv_class : classes_) {
    tokens = std::min(tokens, kv_class->room(slot, sequences_[slot]));
  }
  return tokens;
}

// Past the context the request is wrong; past what there was address space for, the machine's
// limit is met as if memory had run out.
Status KvStore::check_length(const KvSequence& sequence, std::uint64_t tokens) const {
  if (tokens <= sequence.max_tokens) return {};
  if (sequence.max_tokens < plan().problem().context_tokens) {
    return environment("KV cache: there was address space for " +
                       std::to_string(sequence.max_tokens) + " tokens, and " +
                       std::to_string(tokens) + " are wanted");
  }
  return bad_input("the context is full: " + std::to_string(tokens) + " tokens do not fit in " +
                   std::to_string(sequence.max_tokens));
}

Status KvStore::make_room(std::span<const Demand> demands) {
  bool fits = true;
  for (const Demand& demand : demands) {
    RT_RETURN_IF_ERROR(check_length(sequences_[demand.slot], demand.tokens));
    fits = fits && demand.tokens <= room(demand.slot);
  }
  // Most steps fit in what stands: those ask nobody and allocate nothing.
  if (fits) return {};
  RT_TRY(const auto growths, ask_growths(demands));
  RT_RETURN_IF_ERROR(admit(growths, nullptr));
  for (std::size_t c = 0; c < growths.size(); ++c) {
    RT_RETURN_IF_ERROR(classes_[c]->grow(growths[c]));
  }
  RT_RETURN_IF_ERROR(make_ready());
  check_ledger();
  return {};
}

Result<KvStore::Slot> KvStore::fork(Slot from, std::uint64_t budget_tokens) {
  const Slot slot = add(budget_tokens);
  sequences_[slot].length = sequences_[from].length;
  sequences_[slot].high_water = sequences_[from].high_water;
  sequences_[slot].family = sequences_[from].family;
  const auto fill = [&]() -> Status {
    RT_TRY(const auto growths, ask_growths({}));
    RT_RETURN_IF_ERROR(admit(growths, &slot));
    for (std::size_t c = 0; c < growths.size(); ++c) {
      const auto [others, fork] = apart(growths[c], slot);
      RT_RETURN_IF_ERROR(classes_[c]->grow(others));
      RT_RETURN_IF_ERROR(classes_[c]->fork(from, fork));
    }
    return make_ready();
  };
  if (Status filled = fill(); !filled.ok()) {
    remove(slot);
    return std::move(filled).error();
  }
  check_ledger();
  return slot;
}

void KvStore::advance(Slot slot, std::uint64_t tokens) {
  KvSequence& sequence = sequences_[slot];
  sequence.length = tokens;
  sequence.high_water = std::max(sequence.high_water, tokens);
}

std::uint64_t KvStore::truncate(Slot slot, std::uint64_t n) {
  KvSequence& sequence = sequences_[slot];
  RT_ASSERT_LE(n, sequence.length);
  for (const auto& kv_class : classes_) n = kv_class->valid(slot, sequence, n);
  sequence.length = n;
  if (n == 0) sequence.high_water = 0;
  return n;
}

void KvStore::note_reprefill(Slot slot, std::uint64_t tokens) {
  context_.device.ledger().events.reprefill_tokens += tokens;
  context_.tell(KvEventKind::kReprefill, 0, slot, 0, tokens);
}

// Sequences that were emptied and whose address space is less than they may come to need: their
// next token asks for it anew.
Status KvStore::drop_short_ranges() {
  for (Slot slot = 0; slot < sequences_.size(); ++slot) {
    KvSequence& sequence = sequences_[slot];
    const std::uint64_t context = plan().problem().context_tokens;
    if (!sequence.used || sequence.length > 0 || sequence.max_tokens == context) continue;
    RT_RETURN_IF_ERROR(context_.device.synchronize());
    for (const auto& kv_class : classes_) kv_class->clear(slot);
    sequence.max_tokens = context;
  }
  return {};
}

Status KvStore::trim() {
  RT_RETURN_IF_ERROR(drop_short_ranges());
  RT_TRY(const auto growths, ask_growths({}));
  for (std::size_t c = 0; c < growths.size(); ++c) {
    for (const KvGrowth& growth : growths[c]) {
      RT_RETURN_IF_ERROR(classes_[c]->trim(growth.slot, *growth.sequence, growth.capacity));
    }
  }
  RT_RETURN_IF_ERROR(make_ready());
  check_ledger();
  return {};
}

rt_kv_layout KvStore::layout(std::uint32_t layer) const {
  const std::uint32_t c = plan().place(layer).first;
  if (plan().classes()[c].stripe_tokens > 0) return plan().layout(layer, 0);
  std::uint64_t capacity = 0;
  for (Slot slot = 0; slot < sequences_.size(); ++slot) {
    const std::uint64_t own = sequences_[slot].used ? classes_[c]->capacity(slot) : 0;
    if (own == 0) continue;
    RT_ASSERT(capacity == 0 || own == capacity);
    capacity = own;
  }
  return plan().layout(layer, capacity);
}

KvRanges KvStore::ranges() const {
  KvRanges ranges;
  for (const auto& kv_class : classes_) kv_class->add_ranges(ranges);
  return ranges;
}

std::uint64_t KvStore::planned_bytes() const {
  std::uint64_t planned = 0;
  for (const auto& kv_class : classes_) planned += kv_class->planned_bytes();
  return planned;
}

// Not of a faulty device: what it was to give back stays charged, and nobody can say what stands.
void KvStore::check_ledger() const {
  if (!context_.device.healthy()) return;
  RT_ASSERT_EQ(planned_bytes() + context_.device.ready_bytes(),
               context_.device.ledger().now()[MemoryKind::kKv]);
}

}  // namespace rt
