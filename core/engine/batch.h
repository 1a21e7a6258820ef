// Many requests as ragged batches: as many at once as were admitted (batch_admission.h), a finished
// one's place taken by the next. With a shared prefix a sequence of its own computes that once and
// every request is a fork of it: under a planner with tables its pages stand once.
//
// Where the memory limit is met nevertheless (open budgets grow; chunks of several prompts in one
// step may need a page more than one after the other), the youngest request that has not begun its
// answer is put back until another has ended; then an open answer ends with Finish::kMemory.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "core/base/result.h"
#include "core/engine/generate.h"
#include "core/engine/session.h"

namespace rt {

class Batch {
 public:
  struct Request {
    std::size_t index = 0;  // among those given to Batch
    std::uint64_t shared_tokens = 0;
    std::unique_ptr<Sequence> sequence;
    Generation generation;
  };

  // The session was drawn for the batch; it and the tokenizer (which may be null) outlive this. The
  // prompts begin with the same EngineOptions::shared_tokens tokens.
  Batch(Session& session, const Tokenizer* tokenizer, std::vector<GenerateRequest> requests);

  bool finished() const { return waiting_.empty() && running_.empty(); }

  // One step; the requests that have ended with it, in the order in which they began.
  Result<std::vector<std::unique_ptr<Request>>> advance();

 private:
  Result<bool> prefix_ready();
  Status fill();
  Status begin(std::size_t index);
  Status step();
  Status make_do(Status refused);
  std::vector<std::unique_ptr<Request>> take_finished();

  Session& session_;
  const Tokenizer* tokenizer_;
  std::vector<GenerateRequest> requests_;
  std::deque<std::size_t> waiting_;
  std::unique_ptr<Sequence> prefix_;
  std::vector<std::unique_ptr<Request>> running_;  // in the order in which they began
  bool full_ = false;                              // nobody begins before somebody has ended
};

}  // namespace rt
