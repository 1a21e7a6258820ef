#include "core/memory/kv_forecast.h"

#include <algorithm>
#include <string>

#include "core/base/assert.h"
#include "core/memory/kv_store.h"
#include "core/memory/paper_device.h"

namespace rt {
namespace {

// Sequences of a store on paper, driven with the calls that a chat and a batch make. What follows
// begin() or fork() is of that sequence; the others stand.
class Rehearsal {
 public:
  static Result<Rehearsal> make(const KvPlan& plan, std::uint64_t rope_switch_tokens) {
    Rehearsal rehearsal(plan, rope_switch_tokens);
    RT_TRY(rehearsal.device_, open_paper_device(plan.problem()));
    RT_TRY(rehearsal.store_, KvStore::make(*rehearsal.device_, plan));
    return rehearsal;
  }

  // A new, empty sequence.
  void begin() {
    slot_ = store_->add(0);
    ids_ = cached_ = 0;
    regime_ = 0;
  }

  // A new sequence that holds what `from`, with `tokens` cached ones, holds.
  Status fork(KvStore::Slot from, std::uint64_t tokens) {
    RT_TRY(slot_, store_->fork(from, 0));
    ids_ = cached_ = tokens;
    regime_ = 0;
    return {};
  }

  KvStore::Slot slot() const { return slot_; }

  Status request(const KvRequest& request) {
    const std::uint64_t prompt = std::max<std::uint64_t>(request.prompt_tokens, 1);
    if (request.tokens <= prompt) return {};  // without an answer nothing is computed
    if (request.declared) set_budget(request.tokens);
    ids_ = prompt;
    RT_RETURN_IF_ERROR(prefill());
    RT_RETURN_IF_ERROR(decode(request.tokens - prompt - 1));
    forecast_.turns.push_back(point());
    return {};
  }

  Status turn(const KvTurn& turn) {
    RT_RETURN_IF_ERROR(rewind(turn.keep));
    RT_RETURN_IF_ERROR(store_->trim());
    note();
    const std::uint64_t total = ids_ + turn.prompt_tokens + turn.new_tokens;
    const std::uint64_t context = plan_.problem().context_tokens;
    if (total > context) {
      return bad_input("turn " + std::to_string(forecast_.turns.size() + 1) + " needs " +
                       std::to_string(total) + " tokens, the context is " +
                       std::to_string(context));
    }
    // Where nothing is asked, what was declared before holds.
    const bool asked = turn.new_tokens > 0 || turn.stopped_at.has_value();
    if (asked) set_budget(turn.declared ? total + turn.unused_tokens : 0);
    ids_ += turn.prompt_tokens;
    if (turn.stopped_at) RT_RETURN_IF_ERROR(prefill(*turn.stopped_at));
    if (turn.new_tokens > 0) {
      RT_RETURN_IF_ERROR(prefill());
      RT_RETURN_IF_ERROR(decode(turn.new_tokens - 1));
      ++ids_;
    }
    forecast_.turns.push_back(point());
    return {};
  }

  void set_budget(std::uint64_t tokens) { store_->set_budget(slot_, tokens); }
  void push(std::uint64_t tokens) { ids_ += tokens; }

  // Computes what is pending, in steps of at most U, until `most` tokens are in the cache.
  Status prefill(std::uint64_t most = UINT64_MAX) {
    change_regime();
    const std::uint64_t end = std::min(most, ids_);
    while (cached_ < end) {
      const std::uint64_t tokens =
          std::min<std::uint64_t>(end - cached_, plan_.problem().step_tokens);
      RT_RETURN_IF_ERROR(step(cached_ + tokens));
    }
    return {};
  }

  // `count` tokens, one by one as far as it matters: between two growths nothing happens.
  Status decode(std::uint64_t count) {
    const std::uint64_t target = ids_ + count;
    while (ids_ < target) {
      ++ids_;
      if (changes_regime()) {
        RT_RETURN_IF_ERROR(prefill());
        continue;
      }
      RT_RETURN_IF_ERROR(step(ids_));
      std::uint64_t next = std::min(target, store_->room(slot_));
      if (regime_ == 0 && rope_switch_tokens_ > 0) next = std::min(next, rope_switch_tokens_);
      if (next <= ids_) continue;
      computed_ += next - ids_;
      ids_ = cached_ = next;
      store_->advance(slot_, cached_);
    }
    return {};
  }

  const Ledger& ledger() const { return device_->ledger(); }

  // What a growth took for a moment beyond what stands now: an upper bound of it for the last
  // request, and exact for the one that took the most so far.
  std::uint64_t transient() const {
    return ledger().peak()[MemoryKind::kKv] - ledger().now()[MemoryKind::kKv];
  }

  KvForecast take() {
    const MemoryEvents& events = ledger().events;
    note();
    forecast_.reserved_bytes = ledger().peak_reserved_bytes();
    forecast_.standing_bytes = ledger().now()[MemoryKind::kKv];
    forecast_.peak_bytes = ledger().peak()[MemoryKind::kKv];
    forecast_.wanted_more_ready = store_->wanted_more_ready();
    forecast_.copied_bytes = events.copied_bytes;
    forecast_.address_changes = events.address_changes;
    forecast_.commits = events.commits;
    forecast_.decommits = events.decommits;
    forecast_.reprefill_tokens = events.reprefill_tokens;
    return std::move(forecast_);
  }

 private:
  Rehearsal(const KvPlan& plan, std::uint64_t rope_switch_tokens)
      : plan_(plan), rope_switch_tokens_(rope_switch_tokens) {}

  Status step(std::uint64_t tokens) {
    const KvStore::Demand demand{slot_, tokens};
    RT_RETURN_IF_ERROR(store_->make_room({&demand, 1}));
    computed_ += tokens - cached_;
    cached_ = tokens;
    store_->advance(slot_, tokens);
    note();
    return {};
  }

  Status rewind(std::uint64_t keep) {
    if (keep >= ids_) return {};
    ids_ = keep;
    if (keep >= cached_) return {};
    cached_ = store_->truncate(slot_, keep);
    if (cached_ < keep) store_->note_reprefill(slot_, keep - cached_);
    return {};
  }

  bool changes_regime() const {
    return rope_switch_tokens_ > 0 && regime_ != (ids_ > rope_switch_tokens_ ? 1 : 0);
  }
  void change_regime() {
    if (!changes_regime()) return;
    regime_ = 1 - regime_;
    if (cached_ == 0) return;
    store_->note_reprefill(slot_, cached_);
    cached_ = store_->truncate(slot_, 0);
  }

  KvPoint point() const {
    return {computed_, cached_, ledger().now()[MemoryKind::kKv], ledger().peak()[MemoryKind::kKv]};
  }
  // Adds to the curve what has changed since the last time.
  void note() {
    const KvPoint now = point();
    forecast_.ready_bytes = std::max(forecast_.ready_bytes, device_->ready_bytes());
    auto& curve = forecast_.curve;
    if (curve.empty() || curve.back().standing_bytes != now.standing_bytes ||
        curve.back().peak_bytes != now.peak_bytes) {
      curve.push_back(now);
    }
  }

  const KvPlan& plan_;
  std::uint64_t rope_switch_tokens_;
  std::unique_ptr<OpenDevice> device_;
  std::unique_ptr<KvStore> store_;  // after the device it lives on
  KvStore::Slot slot_ = 0;
  std::uint64_t ids_ = 0;
  std::uint64_t cached_ = 0;
  std::uint64_t computed_ = 0;
  int regime_ = 0;
  KvForecast forecast_;
};

}  // namespace

Result<KvForecast> forecast(const KvPlan& plan, std::span<const KvTurn> turns,
                            std::uint64_t rope_switch_tokens) {
  RT_TRY(Rehearsal rehearsal, Rehearsal::make(plan, rope_switch_tokens));
  rehearsal.begin();
  for (const KvTurn& turn : turns) RT_RETURN_IF_ERROR(rehearsal.turn(turn));
  return rehearsal.take();
}

Result<KvForecast> forecast_together(const KvPlan& plan, std::span<const KvRequest> requests,
                                     std::uint64_t shared_tokens,
                                     std::uint64_t rope_switch_tokens) {
  std::vector<KvRequest> order(requests.begin(), requests.end());
  std::stable_sort(order.begin(), order.end(),
                   [](const KvRequest& a, const KvRequest& b) { return a.tokens < b.tokens; });
  RT_TRY(Rehearsal rehearsal, Rehearsal::make(plan, rope_switch_tokens));
  KvStore::Slot prefix = 0;
  if (shared_tokens > 0) {
    rehearsal.begin();
    rehearsal.push(shared_tokens);
    RT_RETURN_IF_ERROR(rehearsal.prefill());
    prefix = rehearsal.slot();
  }
  std::uint64_t transient = 0;
  for (const KvRequest& request : order) {
    if (forks_prefix(request.prompt_tokens, shared_tokens, rope_switch_tokens)) {
      RT_RETURN_IF_ERROR(rehearsal.fork(prefix, shared_tokens));
    } else {
      rehearsal.begin();
    }
    RT_RETURN_IF_ERROR(rehearsal.request(request));
    transient = std::max(transient, rehearsal.transient());
  }
  KvForecast out = rehearsal.take();
  out.peak_bytes = std::max(out.peak_bytes, out.standing_bytes + transient);
  return out;
}

Result<std::uint64_t> peak_bytes(const KvPlan& plan, std::uint64_t prompt_tokens,
                                 std::uint64_t tokens, std::uint64_t budget) {
  RT_TRY(Rehearsal rehearsal, Rehearsal::make(plan, 0));
  rehearsal.begin();
  rehearsal.set_budget(budget);
  const std::uint64_t prompt =
      std::clamp<std::uint64_t>(prompt_tokens, std::min<std::uint64_t>(tokens, 1), tokens);
  rehearsal.push(prompt);
  RT_RETURN_IF_ERROR(rehearsal.prefill());
  RT_RETURN_IF_ERROR(rehearsal.decode(tokens - prompt));
  return rehearsal.ledger().peak()[MemoryKind::kKv];
}

Result<std::uint64_t> largest_tokens(const KvPlan& plan, std::uint64_t limit_bytes,
                                     std::uint64_t prompt_tokens) {
  const auto fits = [&](std::uint64_t tokens) -> Result<bool> {
    RT_TRY(const std::uint64_t peak, peak_bytes(plan, prompt_tokens, tokens, tokens));
    return peak <= limit_bytes;
  };
  // `most` fits, `over` does not; the search keeps that true whatever the planner answers.
  std::uint64_t most = 0;
  std::uint64_t over = plan.problem().context_tokens;
  RT_TRY(const bool all, fits(over));
  if (all) return over;
  while (over - most > 1) {
    const std::uint64_t middle = most + (over - most) / 2;
    RT_TRY(const bool middle_fits, fits(middle));
    (middle_fits ? most : over) = middle;
  }
  return most;
}

}  // namespace rt
