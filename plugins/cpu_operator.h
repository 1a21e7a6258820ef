// What the CPU plugins of all operators share: refusing values that are not f32, and running a loop
// on the pool only where it pays.
#pragma once

#include "core/sdk/sdk.hpp"
#include "core/sdk/weight_format.hpp"
#include "kernels/cpu/linear.h"
#include "kernels/cpu/number.h"

// The words of `isa` for files under AVX512 and AVX512_BF16 of rt_add_plugin.
#define RT_ISA_AVX512 "avx512f,avx512bw,avx512dq,avx512vl,fma,f16c"
#define RT_ISA_AVX512_BF16 RT_ISA_AVX512 ",avx512_bf16"
// bf16 products at twice the rate of f32 ones, which no CPUID bit says (plugins/cpu/processor.h).
#define RT_ISA_FAST_BF16 RT_ISA_AVX512_BF16 ",fast_bf16"

namespace rt::cpu {

static_assert(static_cast<rt_dtype>(Element::kF32) == RT_F32);
static_assert(static_cast<rt_dtype>(Element::kBf16) == RT_BF16);
static_assert(static_cast<rt_dtype>(Element::kF16) == RT_F16);

inline Element element_of(rt_dtype dtype) {
  return static_cast<Element>(dtype);
}

// The schemas leave the type of values to the device; these kernels know one.
inline void expect_f32_between(const sdk::Node& node) {
  if (node.c().value_dtype == RT_F32) return;
  throw sdk::Refusal(sdk::format("expected values of type f32 between operators, found %s",
                                 sdk::dtype_name(node.c().value_dtype)));
}

// The same, and every weight dense: quantized ones have kernels of their own
// (plugins/quantized_linear).
inline void expect_f32_values(const sdk::Node& node) {
  expect_f32_between(node);
  for (std::uint32_t i = 0; i < node.input_count(); ++i) {
    const rt_dtype dtype = node.input(i).dtype;
    if (!sdk::weight_is_quantized(dtype)) continue;
    throw sdk::Refusal(
        sdk::format("expected weights of type f32, bf16 or f16, found %s", sdk::dtype_name(dtype)));
  }
}

// What products that round x serve (`wanted`, one bit a type): avx512_bf16 reads pairs of bf16, and
// whoever keeps weights in f32 wants them as they are.
inline void expect_weight_types(const sdk::Node& node, std::uint32_t wanted, const char* names) {
  expect_f32_values(node);
  for (std::uint32_t i = 1; i < node.input_count(); ++i) {
    const rt_dtype dtype = node.input(i).dtype;
    if ((wanted & RT_DTYPE_BIT(dtype)) != 0) continue;
    throw sdk::Refusal(
        sdk::format("expected weights of type %s, found %s", names, sdk::dtype_name(dtype)));
  }
}
struct Bf16Weights {
  static constexpr const PackedProduct& kProduct = kPackedBf16;
  static void expect(const sdk::Node& node) {
    expect_weight_types(node, RT_DTYPE_BIT(RT_BF16), "bf16");
  }
};
struct Int16Weights {
  static constexpr const PackedProduct& kProduct = kPackedInt16;
  static void expect(const sdk::Node& node) {
    expect_weight_types(node, RT_DTYPE_BIT(RT_BF16) | RT_DTYPE_BIT(RT_F16), "bf16 or f16");
  }
};

// Below this many multiply-adds or moved elements, waking the pool (some microseconds) costs more
// than it saves.
constexpr std::uint64_t kSerialWork = 16384;

// body(begin, end, worker) over [0, count) in multiples of `grain`; `work` is for one of count.
template <class Body>
void loop(const sdk::Call& call, std::uint64_t count, std::uint64_t grain, std::uint64_t work,
          Body&& body) {
  if (count == 0) return;
  if (call.threads() < 2 || count <= grain || count * work < kSerialWork) {
    body(std::uint64_t{0}, count, std::uint32_t{0});
  } else {
    call.parallel_for(count, grain, body);
  }
}

// Tokens x f32[tokens, columns] as the product reads them, packed on the pool at `to`.
inline const void* packed(const sdk::Call& call, const PackedProduct& product, const float* x,
                          std::uint64_t tokens, std::uint64_t columns, void* to) {
  loop(call, tokens, 4, columns, [&](std::uint64_t begin, std::uint64_t end, std::uint32_t) {
    product.pack(x, tokens, columns, begin, end, to);
  });
  return to;
}

// Workers of a device that may be described as having no pool.
inline std::uint64_t worker_count(const sdk::Node& node) {
  return node.device().threads == 0 ? 1 : node.device().threads;
}

// A product of bf16 weights that rounds its values to bf16, for prefill: few tokens are bound by
// memory, where it gains nothing. As avx512_bf16 it stands below avx512 and must be preferred,
// since an Emerald Rapids has half the peak in bf16 products that it has in f32 ones; as fast_bf16
// it stands above, where the device says that it has twice (plugins/cpu/processor.h).
constexpr sdk::ImplementationInfo bf16_product(const char* op, bool fast) {
  return {.op = op,
          .name = fast ? "fast_bf16" : "avx512_bf16",
          .device_kind = "cpu",
          .isa = fast ? RT_ISA_FAST_BF16 : RT_ISA_AVX512_BF16,
          .step_classes = RT_STEP_PREFILL,
          .traits = RT_TRAIT_CAPTURE_SAFE,
          .tier = fast ? 260 : 240,
          .weight_dtypes = RT_DTYPE_BIT(RT_BF16)};
}

// In 16-bit integers, at 1.5 times the rate of AVX2's f32 products; those of AVX-512 are
// faster.
constexpr sdk::ImplementationInfo int16_product(const char* op) {
  return {.op = op,
          .name = "int16",
          .device_kind = "cpu",
          .isa = "avx2,fma,f16c",
          .step_classes = RT_STEP_PREFILL,
          .traits = RT_TRAIT_CAPTURE_SAFE,
          .tier = 230,
          .weight_dtypes = RT_DTYPE_BIT(RT_BF16) | RT_DTYPE_BIT(RT_F16)};
}

}  // namespace rt::cpu
