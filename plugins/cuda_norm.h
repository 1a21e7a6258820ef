// A norm in front of a product in one kernel: what the CUDA plugins of such fused operators share.
#pragma once

#include "kernels/cuda/norm_after.h"
#include "kernels/cuda/rms_norm.h"

#include <string>

#include "plugins/cuda_operator.h"

namespace rt::cuda {

// Bytes of `tokens` rows of `width` values of a node.
inline std::uint64_t value_bytes(const sdk::Node& node, std::uint64_t tokens, std::int64_t width) {
  return aligned_bytes(tokens * static_cast<std::uint64_t>(width) *
                       sdk::dtype_bytes(node.c().value_dtype));
}

// All weight inputs of [first, end) of one type.
inline void expect_weights_alike(const sdk::Node& node, std::uint32_t first, std::uint32_t end) {
  for (std::uint32_t i = first; i < end; ++i) {
    if (node.input(i).dtype == node.input(first).dtype) continue;
    throw sdk::Refusal(sdk::format("expected weights of one type, found %s and %s",
                                   sdk::dtype_name(node.input(first).dtype),
                                   sdk::dtype_name(node.input(i).dtype)));
  }
}

// The rms_norm `part` of a fused node. Its rows are normed inside the product's blocks where they
// fit there, and else by a kernel of its own before.
struct NormPart {
  // `product`: a weight that the rows are multiplied with.
  NormPart(const sdk::Node& node, const std::string& part, std::uint32_t product)
      : most_bytes(most_normed_bytes(node, product)),
        eps(static_cast<float>(node.attrs().real(part + ".eps"))),
        offset(node.attrs().boolean(part + ".plus_one") ? 1.0f : 0.0f) {}

  static std::uint64_t most_normed_bytes(const sdk::Node& node, std::uint32_t product) {
    return dense(node.input(product).dtype) ? kMostNormedBytes : kMostNormedBytesBesideTable;
  }

  // Workspace for rows of x that do not fit.
  static std::uint64_t scratch_bytes(const sdk::Node& node, const rt_tensor& x,
                                     std::uint32_t product) {
    const Matrix most = {nullptr, static_cast<Element>(node.c().value_dtype), node.bounds().tokens,
                         static_cast<std::uint64_t>(x.shape[1])};
    return norms_in_block(most, most_normed_bytes(node, product))
               ? 0
               : value_bytes(node, most.rows, x.shape[1]);
  }

  NormedRows rows(const rt_tensor& x, const rt_tensor& weight, void* scratch, void* stream) const {
    const NormedRows normed = normed_rows(matrix(x), matrix(weight), offset, eps);
    if (norms_in_block(normed.x, most_bytes)) return normed;
    Matrix out = normed.x;
    out.data = scratch;
    rms_norm(normed, kNoResidual, out, stream);
    return plain_rows(out);
  }

  std::uint64_t most_bytes;
  float eps;
  float offset;
};

// The rms_norm `part` behind a product of a fused node, and the residual behind that. Workspace: a
// count of arrivals, then the product's rows.
struct NormAfterPart {
  NormAfterPart(const sdk::Node& node, const std::string& part)
      : eps(static_cast<float>(node.attrs().real(part + ".eps"))),
        offset(node.attrs().boolean(part + ".plus_one") ? 1.0f : 0.0f) {}

  static std::uint64_t scratch_bytes(const sdk::Node& node, const rt_tensor& x) {
    return kArrivalBytes + value_bytes(node, node.bounds().tokens, x.shape[1]);
  }
  Arrivals arrivals(char* scratch) const { return {reinterpret_cast<std::uint32_t*>(scratch), 1}; }
  NormAfter after(const rt_tensor& weight, const rt_tensor& residual, const rt_tensor& out,
                  char* scratch) const {
    Matrix product = matrix(out);
    product.data = scratch + kArrivalBytes;
    return {normed_rows(product, matrix(weight), offset, eps), matrix(residual), matrix(out),
            arrivals(scratch), rows_aligned(matrix(out)) && rows_aligned(matrix(residual))};
  }

  static constexpr std::uint64_t kArrivalBytes = 256;
  float eps;
  float offset;
};

}  // namespace rt::cuda
