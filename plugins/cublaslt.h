// Products by cuBLASLt, NVIDIA's library, which is opened at run time: nothing is linked. A device
// that has it says so in its description (`isa`), so a plan for a machine that is not this one
// knows; on others the implementations that want it are refused with a sentence. Its types are
// declared here as numbers and pointers, so that nothing here needs its header.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "plugins/cuda_operator.h"

namespace rt::cuda {

// Throws sdk::Refusal where the node's device has no such library.
inline void expect_cublaslt(const sdk::Node& node) {
  if (node.device_has("cublaslt")) return;
  throw sdk::Refusal(
      "cuBLASLt: expected libcublasLt.so.13 or .so.12 (of CUDA or of the Python wheel "
      "nvidia-cublas), found none; the file of a described device says isa: [cublaslt]");
}

// What a product may take beside its operands; the library's own advice for sm_90.
constexpr std::uint64_t kCublasLtWorkspaceBytes = 32 << 20;

// The library on one device, for all nodes and sessions of a plugin. From any thread.
class CublasLt {
 public:
  // A description that the library has taken, with the algorithm it names.
  class Plan;
  // Element, T, N, K of out[T, N] = x[T, K] weight[N, K]^T, all of one type; sums are f32, f32 is
  // not rounded to TF32. Addresses are multiples of kAlignment.
  using Shape = std::array<std::uint64_t, 4>;
  static constexpr std::uintptr_t kAlignment = 16;

  // The one of device `index`; it lives as long as somebody holds it.
  static std::shared_ptr<CublasLt> of_device(std::uint32_t index);
  CublasLt();
  ~CublasLt();
  CublasLt(const CublasLt&) = delete;
  CublasLt& operator=(const CublasLt&) = delete;

  // As long as this lives; nullptr where the library has none. Asked for once per shape.
  const Plan* plan(const Shape& shape);
  // 0, or the library's status. `workspace` holds kCublasLtWorkspaceBytes.
  int run(const Plan& plan, const void* x, const void* weight, void* out, void* workspace,
          void* stream) const;
  // A warning that ours computes products of this N and K, the first time.
  void warn(const rt_host& host, const Shape& shape, int status);

 private:
  void* handle_ = nullptr;
  int create_status_ = 0;
  std::mutex mutex_;  // of the two below
  std::map<Shape, std::unique_ptr<const Plan>> plans_;
  std::set<std::array<std::uint64_t, 2>> warned_;
};

// One product of a node, with the weight at input `weight`. prepare() asks the library, run()
// neither allocates nor locks; where the library refuses, our kernel computes it. Up to kFewRows
// rows, such as a prompt's one row of logits, are decode's: its kernel reads the weight once for
// all of them.
class LtProduct {
 public:
  using Kernel = void (*)(const Matrix& x, const Matrix& weight, const Matrix& out, void* stream);

  static constexpr std::uint64_t kFewRows = 8;

  LtProduct(const sdk::Node& node, std::uint32_t weight, Kernel few, Kernel ours);
  void prepare(const rt_step& step);
  // The call's workspace begins with kCublasLtWorkspaceBytes. Throws LaunchError.
  void run(const sdk::Call& call, const Matrix& x, const Matrix& weight, const Matrix& out);

 private:
  std::shared_ptr<CublasLt> library_;
  CublasLt::Shape shape_;  // T: that of plan_
  bool per_row_;           // T is the rows that want logits
  Kernel few_;
  Kernel ours_;
  const CublasLt::Plan* plan_ = nullptr;
};

}  // namespace rt::cuda
