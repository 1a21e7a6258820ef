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
#include <optional>
#include <string>

#include "plugins/cuda_operator.h"

namespace rt::cuda {

// Throws sdk::Refusal where the node's device has no such library.
inline void expect_cublaslt(const sdk::Node& node) {
  if (node.device_has("cublaslt")) return;
  throw sdk::Refusal(
      "cuBLASLt: expected libcublasLt.so.13 (of CUDA 13 or of the Python wheel nvidia-cublas), "
      "found "
      "none; the file of a described device says isa: [cublaslt]");
}

// What a product may take beside its operands; the library's own advice for sm_90.
constexpr std::uint64_t kCublasLtWorkspaceBytes = 32 << 20;

// out[T, N] = x[T, K] weight[N, K]^T on one device, for all its nodes and sessions. x, weight and
// out have one type (f32, bf16, f16); sums are f32, f32 is not rounded to TF32. The algorithm is
// asked for once per shape and kept. From any thread.
class CublasLt {
 public:
  // The one of device `index`; it lives as long as somebody holds it. Throws LaunchError.
  static std::shared_ptr<CublasLt> of_device(std::uint32_t index);
  CublasLt();
  ~CublasLt();
  CublasLt(const CublasLt&) = delete;
  CublasLt& operator=(const CublasLt&) = delete;

  // On the call's stream; its workspace begins with kCublasLtWorkspaceBytes. False, with a warning
  // the first time: the library has no algorithm for it, and nothing has been started. Throws
  // LaunchError.
  bool run(const sdk::Call& call, const Matrix& x, const Matrix& weight, const Matrix& out);

 private:
  using Algorithm = std::array<std::uint64_t, 8>;
  // Type, T, N, K, and what the addresses are aligned to: an algorithm may want 16 bytes.
  using Shape = std::array<std::uint64_t, 5>;

  void* handle_ = nullptr;
  std::mutex mutex_;  // of the algorithms
  std::map<Shape, std::optional<Algorithm>> algorithms_;
};

}  // namespace rt::cuda
