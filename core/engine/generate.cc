#include "core/engine/generate.h"

#include <algorithm>
#include <chrono>

#include "core/engine/admission.h"

namespace rt {
namespace {

using Clock = std::chrono::steady_clock;

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

}  // namespace

const char* finish_name(Finish finish) {
  switch (finish) {
    case Finish::kStop:
      return "stop";
    case Finish::kLength:
      return "length";
    case Finish::kMemory:
      return "memory";
    case Finish::kCancelled:
      return "cancelled";
    case Finish::kRunning:
      break;
  }
  return "";
}

Result<Generation> Generation::begin(Sequence& sequence, const Tokenizer* tokenizer,
                                     GenerateRequest request, const Session& session) {
  const std::uint64_t context_tokens = session.context_tokens();
  const std::uint64_t held = sequence.ids().size();
  const std::uint64_t total = held + request.prompt.size();
  if (request.prompt.empty() && sequence.pending() == 0) {
    return bad_input("the prompt is empty; give at least one token");
  }
  if (total >= context_tokens) {
    return bad_input("the prompt needs " + std::to_string(total) + " tokens (" +
                     std::to_string(held) +
                     " of them already in the conversation), the context "
                     "holds " +
                     std::to_string(context_tokens) + " and the answer needs room too; shorten it" +
                     (held > 0 ? " or /clear" : "") + larger_context(session.blueprint()));
  }
  Generation generation;
  generation.sequence_ = &sequence;
  generation.context_tokens_ = context_tokens;
  if (tokenizer != nullptr) {
    RT_TRY(StopStrings stops, StopStrings::create(request.stop));
    generation.stream_.emplace(*tokenizer, std::move(stops));
    if (request.continues) {
      generation.stream_->prime(sequence.ids());
      generation.stream_->prime(request.prompt);
    }
  } else if (!request.stop.empty()) {
    return bad_input("stop strings need a tokenizer");
  }
  const std::uint64_t room = context_tokens - total;
  const std::uint64_t wanted = std::min(room, request.max_new_tokens.value_or(room));
  sequence.sampling = request.sampling;
  sequence.set_budget(request.max_new_tokens ? total + wanted : 0);
  // Room for the tokens to come, so that a decode step allocates nothing; an open budget grows in
  // blocks of this many.
  constexpr std::uint64_t kReserveTokens = 1024;
  generation.ids_.reserve(std::min(wanted, kReserveTokens));
  sequence.reserve(total + std::min(wanted, kReserveTokens));
  generation.timings_.cached_tokens = sequence.cached();
  generation.timings_.prompt_tokens = total - sequence.cached();
  sequence.push(request.prompt);
  generation.request_ = std::move(request);
  if (generation.request_.max_new_tokens == 0u) generation.end(Finish::kLength);
  return generation;
}

std::string Generation::take_text() {
  std::string fresh = text_.substr(taken_);
  taken_ = text_.size();
  return fresh;
}

void Generation::cancel() {
  if (!finished()) end(Finish::kCancelled);
}

void Generation::end(Finish finish) {
  finish_ = finish;
  if (stream_) text_ += stream_->flush();
}

// Whether, if nothing stops it, the answer goes on when the coming step has drawn a token.
bool Generation::wants_more_after_next() const {
  const std::uint64_t drawn = ids_.size() + 1;
  return (!request_.max_new_tokens || drawn < *request_.max_new_tokens) &&
         sequence_->ids().size() + 1 < context_tokens_;
}

// Whether a token or a string can end it before its length does.
bool Generation::can_stop() const {
  return !request_.stop.empty() || (!request_.ignore_end && !request_.end_tokens.empty());
}

// Takes a drawn token: into the answer, and (unless it ends the answer) back into the sequence.
void Generation::accept(const StepRow& row) {
  logits_ = row.logits;
  ids_.push_back(row.sampled);
  timings_.new_tokens = ids_.size();
  const auto& ends = request_.end_tokens;
  if (!request_.ignore_end && std::find(ends.begin(), ends.end(), row.sampled) != ends.end()) {
    return end(Finish::kStop);
  }
  if (stream_) {
    text_ += stream_->push(row.sampled);
    if (stream_->stopped()) {
      // The token is part of the conversation even where its text is cut.
      sequence_->push(row.sampled);
      return end(Finish::kStop);
    }
  }
  sequence_->push(row.sampled);
  if (ids_.size() == request_.max_new_tokens || sequence_->ids().size() >= context_tokens_) {
    end(Finish::kLength);
  }
}

Status advance(Session& session, std::span<Generation* const> generations) {
  // A step is short and this list is its only bookkeeping; it lives on the stack up to 64 wide.
  Sequence* few[64];
  std::vector<Sequence*> many;
  std::span<Sequence*> sequences(few, 0);
  std::size_t count = 0;
  bool goes_on = true;
  if (generations.size() > std::size(few)) {
    many.resize(generations.size());
    sequences = many;
  } else {
    sequences = {few, std::size(few)};
  }
  for (Generation* generation : generations) {
    if (generation->finished()) continue;
    sequences[count++] = generation->sequence_;
    // One that stops makes the step behind it worthless for all: of 16 answers of 200 tokens one
    // step in 12, more than what beginning it early could save.
    goes_on = goes_on && generation->wants_more_after_next() &&
              (generations.size() == 1 || !generation->can_stop());
  }
  if (count == 0) return {};

  const auto start = Clock::now();
  auto rows = session.step(sequences.first(count), goes_on);
  const double elapsed = milliseconds_since(start);
  if (!rows.ok()) {
    // Of several none is the one to end: the caller knows which can wait (batch.h).
    Generation& only = *generations.front();
    // Of a chat -n bounds each answer and is no budget that has been admitted.
    const bool admitted = only.request_.max_new_tokens && session.blueprint().options.hard_budget;
    const bool open = !admitted && !only.ids_.empty();
    const bool full = rows.error().fault == Fault::kEnvironment && session.healthy();
    if (generations.size() > 1 || !open || !full) return std::move(rows).error();
    only.end(Finish::kMemory);
    return {};
  }
  for (Generation* generation : generations) {
    if (generation->finished()) continue;
    const bool first = generation->ids_.empty();
    (first ? generation->timings_.prompt_ms : generation->timings_.decode_ms) += elapsed;
  }
  for (const StepRow& row : *rows) {
    // With all_rows a sequence has one row per token; the last one is drawn from.
    if (row.position + 1 != row.sequence->ids().size()) continue;
    for (Generation* generation : generations) {
      if (generation->sequence_ == row.sequence && !generation->finished()) {
        generation->accept(row);
      }
    }
  }
  return {};
}

}  // namespace rt
