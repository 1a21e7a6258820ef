#include "plugins/attention/cudnn_plans.h"

#include <algorithm>

#include "plugins/nvidia_library.h"

namespace rt::cuda::cudnn {

std::shared_ptr<AttentionPlans> AttentionPlans::of_device(std::uint32_t index) {
  return one_of_device<AttentionPlans>(index);
}

AttentionPlans::AttentionPlans() {
  expect_library();
  check(library().create(&handle_), "handle");
}

AttentionPlans::~AttentionPlans() {
  plans_.clear();
  (void)library().destroy(handle_);
}

std::shared_ptr<const AttentionPlan> AttentionPlans::find(const AttentionProblem& problem) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto known = std::find_if(plans_.begin(), plans_.end(),
                                  [&](const auto& entry) { return entry.first == problem; });
  if (known == plans_.end()) return nullptr;
  plans_.splice(plans_.begin(), plans_, known);
  return known->second;
}

// Made without the lock: who runs a plan meanwhile does not wait for the compiler.
std::shared_ptr<const AttentionPlan> AttentionPlans::plan(const AttentionProblem& problem) {
  if (auto known = find(problem)) return known;
  auto made = std::make_shared<const AttentionPlan>(problem, Target{handle_});
  const std::lock_guard<std::mutex> lock(mutex_);
  plans_.emplace_front(problem, made);
  if (plans_.size() > kMostPlans) plans_.pop_back();
  return made;
}

void AttentionPlans::run(const AttentionPlan& plan, const AttentionOperands& operands,
                         void* stream) {
  const std::lock_guard<std::mutex> lock(mutex_);
  check(library().set_stream(handle_, stream), "stream");
  plan.run(handle_, operands);
}

}  // namespace rt::cuda::cudnn
