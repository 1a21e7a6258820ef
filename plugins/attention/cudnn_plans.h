// Plans of attention for a device, shared by all layers and sessions.
#pragma once

#include <list>
#include <memory>
#include <mutex>
#include <utility>

#include "plugins/attention/cudnn_plan.h"

namespace rt::cuda::cudnn {

// The plans that were used last. Making one is work for the host, mostly a compiler's: 0.4 to 1.4 s
// for sm_80 on the reference machine.
class AttentionPlans {
 public:
  // The plans of device `index`; they live as long as somebody holds them. Throws LaunchError.
  static std::shared_ptr<AttentionPlans> of_device(std::uint32_t index);
  AttentionPlans();
  ~AttentionPlans();
  AttentionPlans(const AttentionPlans&) = delete;
  AttentionPlans& operator=(const AttentionPlans&) = delete;

  std::shared_ptr<const AttentionPlan> plan(const AttentionProblem& problem);
  // Runs `plan` on `stream`; what it reads and writes is `operands`.
  void run(const AttentionPlan& plan, const AttentionOperands& operands, void* stream);

 private:
  std::shared_ptr<const AttentionPlan> find(const AttentionProblem& problem);

  static constexpr std::size_t kMostPlans = 64;

  std::mutex mutex_;  // of the handle, whose stream is set before each run, and of the list
  void* handle_ = nullptr;
  std::list<std::pair<AttentionProblem, std::shared_ptr<const AttentionPlan>>> plans_;
};

}  // namespace rt::cuda::cudnn
