// From a prompt to text, one token at a time, for one sequence or many at once.
//
//   RT_TRY(Generation g, Generation::begin(*sequence, &tokenizer, request, session));
//   Generation* const all[] = {&g};
//   while (!g.finished()) { RT_RETURN_IF_ERROR(advance(session, all)); emit(g.take_text()); }
//
// A Generation is one request: its prompt, sampling, limits and stop conditions, and what has come
// of it so far. advance() runs one step for all of them together (a ragged batch); a step may be a
// chunk of prefill, so it does not always bring a token.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/base/result.h"
#include "core/engine/session.h"
#include "core/text/stop_strings.h"
#include "core/text/tokenizer.h"

namespace rt {

enum class Finish {
  kRunning,   // still running
  kStop,      // an end token or a stop string
  kLength,    // the requested number of tokens, or the context is full
  kMemory,    // an open budget grew to the memory limit
  kCancelled  // Generation::cancel()
};
// "stop", "length", "memory", "cancelled"; "" for kRunning.
const char* finish_name(Finish finish);

struct GenerateRequest {
  std::vector<std::int32_t> prompt;             // appended to what the sequence already holds
  std::optional<std::uint64_t> max_new_tokens;  // absent: an open budget
  Sampling sampling;
  std::vector<std::int32_t> end_tokens;  // ids that end the answer; not part of the text
  bool ignore_end = false;               // go on past them (--ignore-eos)
  std::vector<std::string> stop;         // stop strings; not part of the text
  bool continues = true;  // the text goes on from the prompt's; a chat's reply is one of its own
};

struct GenerateTimings {
  std::uint64_t prompt_tokens = 0;  // computed
  std::uint64_t cached_tokens = 0;  // of the prompt, found in the cache
  std::uint64_t new_tokens = 0;
  double prompt_ms = 0;  // until the first token is drawn
  double decode_ms = 0;  // of the tokens after it
};

class Generation {
 public:
  // `sequence` is of `session` and the caller's (a chat keeps it between turns). tokenizer may be
  // null: ids only.
  static Result<Generation> begin(Sequence& sequence, const Tokenizer* tokenizer,
                                  GenerateRequest request, const Session& session);

  bool finished() const { return finish_ != Finish::kRunning; }
  Finish finish() const { return finish_; }
  // New tokens so far, the end token included if one came.
  const std::vector<std::int32_t>& ids() const { return ids_; }
  const GenerateTimings& timings() const { return timings_; }

  // Text that may be shown and has not been taken yet: whole characters, never part of a stop
  // string. After finished() the rest.
  std::string take_text();
  // All text so far.
  const std::string& text() const { return text_; }

  void cancel();

  // Logits f32[V] of the last drawn token's row, if the session keeps logits; else null.
  const float* logits() const { return logits_; }

 private:
  friend Status advance(Session& session, std::span<Generation* const> generations);
  bool wants_more_after_next() const;
  bool can_stop() const;
  void accept(const StepRow& row);
  void end(Finish finish);

  Sequence* sequence_ = nullptr;
  GenerateRequest request_;
  std::optional<TextStream> stream_;
  std::uint64_t context_tokens_ = 0;
  Finish finish_ = Finish::kRunning;
  std::vector<std::int32_t> ids_;
  std::string text_;
  std::size_t taken_ = 0;
  GenerateTimings timings_;
  const float* logits_ = nullptr;
};

// One step for every generation that is not finished. An Error ends none of them by itself. The
// memory limit finishes a single one with an open budget that has begun its answer (kMemory); of
// several nothing has changed, and the refusal is returned.
Status advance(Session& session, std::span<Generation* const> generations);

}  // namespace rt
