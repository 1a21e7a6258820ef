// Attention of one sequence as a graph of cuDNN, and the plan that runs it: bottom-right causal,
// grouped heads, a window. Keys and values are read where the cache has them.
#pragma once

#include <compare>
#include <memory>

#include "plugins/attention/cudnn_library.h"

namespace rt::cuda::cudnn {

// What a plan is made for. Lengths are exact: rows of the cache past the length may be any bits, or
// not be memory at all, and a plan for rounded lengths would be allowed to read them.
struct AttentionProblem {
  std::int64_t heads, kv_heads, head_width;
  std::int64_t window;  // 0: all keys
  std::int64_t queries, keys;
  Element element;  // bf16 or f16, of all four
  auto operator<=>(const AttentionProblem&) const = default;
};

// What a plan may take beside its operands.
constexpr std::uint64_t kWorkspaceBytes = 16 << 20;

// q and out: rows [queries, heads, head_width]; k and v: [keys, kv_heads, head_width]. All dense.
struct AttentionOperands {
  const void* q;
  const void* k;
  const void* v;
  void* out;
  float scale;
  void* workspace;  // kWorkspaceBytes
};

// Where a plan will run: on a handle's device, or one that is only described (nothing can be run
// then).
struct Target {
  void* handle = nullptr;
  const Descriptor* device = nullptr;
};

class AttentionPlan {
 public:
  // Throws LaunchError where the library has none.
  AttentionPlan(const AttentionProblem& problem, const Target& target);
  ~AttentionPlan();

  std::uint64_t workspace_bytes() const;
  void run(void* handle, const AttentionOperands& operands) const;

 private:
  struct Graph;
  std::unique_ptr<Graph> graph_;
};

}  // namespace rt::cuda::cudnn
