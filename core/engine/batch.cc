#include "core/engine/batch.h"

#include <string>

#include "core/engine/admission.h"

namespace rt {

Batch::Batch(Session& session, const Tokenizer* tokenizer, std::vector<GenerateRequest> requests)
    : session_(session), tokenizer_(tokenizer), requests_(std::move(requests)) {
  for (std::size_t i = 0; i < requests_.size(); ++i) waiting_.push_back(i);
}

Result<std::vector<std::unique_ptr<Batch::Request>>> Batch::advance() {
  RT_TRY(const bool ready, prefix_ready());
  if (!ready) return std::vector<std::unique_ptr<Request>>();
  RT_RETURN_IF_ERROR(fill());
  if (Status stepped = step(); !stepped.ok()) {
    RT_RETURN_IF_ERROR(make_do(std::move(stepped)));
  }
  return take_finished();
}

// One chunk of the prefix, until all of it is in the cache.
Result<bool> Batch::prefix_ready() {
  const std::uint64_t shared = session_.blueprint().options.shared_tokens;
  if (shared == 0 || finished()) return true;
  if (prefix_ == nullptr) {
    RT_TRY(prefix_, session_.start());
    prefix_->push(std::span<const std::int32_t>(requests_.front().prompt).first(shared));
  }
  if (prefix_->pending() == 0) return true;
  Sequence* const one[] = {prefix_.get()};
  RT_TRY([[maybe_unused]] const auto rows, session_.step(one));
  return false;
}

Status Batch::fill() {
  while (!full_ && !waiting_.empty() && running_.size() < at_once(session_.blueprint().options)) {
    const std::size_t index = waiting_.front();
    if (Status begun = begin(index); !begun.ok()) {
      return in("prompt " + std::to_string(index), std::move(begun).error());
    }
    waiting_.pop_front();
  }
  return {};
}

Status Batch::begin(std::size_t index) {
  GenerateRequest request = requests_[index];
  std::uint64_t shared = session_.blueprint().options.shared_tokens;
  if (!forks_prefix(request.prompt.size(), shared, session_.graph().rope_switch_tokens)) shared = 0;
  RT_TRY(auto sequence, shared > 0 ? session_.fork(*prefix_) : session_.start());
  request.prompt.erase(request.prompt.begin(),
                       request.prompt.begin() + static_cast<std::ptrdiff_t>(shared));
  RT_TRY(Generation generation,
         Generation::begin(*sequence, tokenizer_, std::move(request), session_));
  running_.push_back(std::make_unique<Request>(
      Request{index, shared, std::move(sequence), std::move(generation)}));
  return {};
}

Status Batch::step() {
  std::vector<Generation*> generations;
  for (const auto& request : running_) generations.push_back(&request->generation);
  return rt::advance(session_, std::span<Generation* const>(generations));
}

// A step that the limit did not allow has changed nothing. `running_` gets smaller, or each of its
// requests is tried alone: one that has room goes on, to its end, and gives back what it holds.
Status Batch::make_do(Status refused) {
  const auto of_limit = [&](const Status& status) {
    return status.error().fault == Fault::kEnvironment && session_.healthy();
  };
  if (!of_limit(refused) || running_.size() < 2) return refused;
  full_ = true;
  if (running_.back()->generation.ids().empty()) {
    waiting_.push_front(running_.back()->index);
    running_.pop_back();
    return {};
  }
  bool advanced = false;
  for (const auto& request : running_) {
    Generation* const one[] = {&request->generation};
    Status alone = rt::advance(session_, one);
    if (!alone.ok() && !of_limit(alone)) return alone;
    advanced = advanced || alone.ok();
    if (request->generation.finished()) return {};  // its memory goes back before the next one asks
  }
  return advanced ? Status() : refused;
}

std::vector<std::unique_ptr<Batch::Request>> Batch::take_finished() {
  std::vector<std::unique_ptr<Request>> ended;
  std::erase_if(running_, [&](std::unique_ptr<Request>& request) {
    if (!request->generation.finished()) return false;
    ended.push_back(std::move(request));
    return true;
  });
  if (!ended.empty()) full_ = false;
  return ended;
}

}  // namespace rt
