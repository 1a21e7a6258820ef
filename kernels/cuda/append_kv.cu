// New rows to the cache, byte for byte as core/sdk/kv_row.hpp writes them.
#include "kernels/cuda/attention.h"
#include "kernels/cuda/count_arrivals.h"
#include "kernels/cuda/kv_rows.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/reduce.h"

namespace rt::cuda {
namespace {

constexpr unsigned kThreads = 128;

// round(x / scale) in [low, high], ties to even; low for a NaN, 0 if the scale is 0.
__device__ inline int code_of(float x, float scale, float low, float high) {
  if (scale == 0) return 0;
  float ratio = x / scale;
  ratio = ratio > high ? high : ratio;
  ratio = ratio > low ? ratio : low;
  // Beside 1.5 * 2^23 the unit in the last place is 1: the adder rounds.
  return static_cast<int>(__float_as_uint(ratio + 12582912.0f) - 0x4b400000u);
}

// The element of largest magnitude of [0, count), of equals the first; by magnitude as bits, so
// that a NaN is larger than infinity. Starting from 0.
__device__ float largest_of(const Matrix& rows, uint64_t first, uint32_t count) {
  float largest = 0;
  uint32_t index = 0xffffffffu;
  for (uint32_t e = threadIdx.x % kWarp; e < count; e += kWarp) {
    const float x = load(rows.data, rows.element, first + e);
    if ((__float_as_uint(x) & 0x7fffffffu) > (__float_as_uint(largest) & 0x7fffffffu)) {
      largest = x;
      index = e;
    }
  }
  for (int step = 16; step > 0; step /= 2) {
    const float x = __shfl_xor_sync(kAllLanes, largest, step);
    const uint32_t other = __shfl_xor_sync(kAllLanes, index, step);
    const uint32_t mine = __float_as_uint(largest) & 0x7fffffffu;
    const uint32_t its = __float_as_uint(x) & 0x7fffffffu;
    if (its > mine || (its == mine && other < index)) {
      largest = x;
      index = other;
    }
  }
  return largest;
}

// One block of a head: codes from `at` on, and scale `index` of the row. A warp.
template <KvElement kElement>
__device__ void store_block(const KvCache& kv, const Matrix& rows, uint64_t first, uint32_t count,
                            uint64_t index, unsigned char* at, unsigned char* row) {
  const float largest = largest_of(rows, first, count);
  const float exact = kElement == KvElement::kQ4_0 ? largest / -8.0f : fabsf(largest) / 127.0f;
  float scale = exact;
  if (kElement == KvElement::kInt8) {
    if (threadIdx.x % kWarp == 0) reinterpret_cast<float*>(row + kv.scales_offset)[index] = exact;
  } else {
    F16 rounded;
    round_to(exact, &rounded);
    scale = to_f32(rounded);
    if (threadIdx.x % kWarp == 0) reinterpret_cast<F16*>(row + kv.scales_offset)[index] = rounded;
  }
  for (uint32_t base = 0; base < count; base += kWarp) {
    const uint32_t e = base + threadIdx.x % kWarp;
    const float x = e < count ? load(rows.data, rows.element, first + e) : 0.0f;
    if (kElement != KvElement::kQ4_0) {
      if (e < count) at[e] = static_cast<unsigned char>(code_of(x, scale, -127, 127));
      continue;
    }
    const unsigned code = e < count ? static_cast<unsigned>(code_of(x, scale, -8, 7) + 8) : 0u;
    const unsigned next = __shfl_xor_sync(kAllLanes, code, 1);
    if (e < count && e % 2 == 0) at[e / 2] = static_cast<unsigned char>(code | next << 4);
  }
}

template <KvElement kElement>
__device__ void store_row(const KvCache& kv, const Matrix& rows, uint64_t t, unsigned char* row) {
  const uint64_t first = t * rows.columns;
  if (kElement == KvElement::kF32 || kElement == KvElement::kBf16 || kElement == KvElement::kF16) {
    for (uint64_t i = threadIdx.x; i < rows.columns; i += kThreads) {
      store(row, static_cast<Element>(kElement), i, load(rows.data, rows.element, first + i));
    }
    return;
  }
  const uint32_t block = kElement == KvElement::kInt8 ? kv.head_width : kKvBlock;
  const uint32_t blocks = kv.kv_heads * static_cast<uint32_t>(kv.head_scales);
  for (uint32_t i = threadIdx.x / kWarp; i < blocks; i += kThreads / kWarp) {
    const uint32_t g = i / static_cast<uint32_t>(kv.head_scales);
    const uint32_t e = i % static_cast<uint32_t>(kv.head_scales) * block;
    const uint32_t left = kv.head_width - e;
    unsigned char* head = row + g * kv.head_bytes;
    store_block<kElement>(kv, rows, first + static_cast<uint64_t>(g) * kv.head_width + e,
                          left < block ? left : block, i,
                          head + (kElement == KvElement::kQ4_0 ? e / 2 : e), row);
  }
}

// grid [T, 2] (K and V), block 128, no shared memory. Moves 2 T G E values and as many elements of
// the cache; bound by latency.
template <KvElement kElement>
__global__ void __launch_bounds__(kThreads)
    append_rows(KvCache kv, StepTokens step, Matrix k, Matrix v, Arrivals arrivals) {
  after_previous();
  const uint64_t t = blockIdx.x;
  if (blockIdx.y == 0) clear(arrivals, t * kThreads + threadIdx.x, step.tokens * kThreads);
  const KvStream stream = blockIdx.y == 0 ? kKeys : kValues;
  Matrix rows = k;  // v has its type and shape
  rows.data = stream == kKeys ? k.data : v.data;
  unsigned char* row = kv_row(kv, static_cast<uint32_t>(step.sequences[t]),
                              static_cast<uint64_t>(step.positions[t]), stream);
  store_row<kElement>(kv, rows, t, row);
}

template <KvElement kElement>
void launch_append(const KvCache& kv, const StepTokens& step, const Matrix& k, const Matrix& v,
                   const Arrivals& arrivals, void* stream) {
  launch(append_rows<kElement>, dim3(static_cast<unsigned>(step.tokens), 2), kThreads, 0, stream,
         kv, step, k, v, arrivals);
}

}  // namespace

void append_kv(const KvCache& kv, const StepTokens& step, const Matrix& k, const Matrix& v,
               const Arrivals& arrivals, void* stream) {
  switch (kv.element) {
    case KvElement::kF32:
      return launch_append<KvElement::kF32>(kv, step, k, v, arrivals, stream);
    case KvElement::kBf16:
      return launch_append<KvElement::kBf16>(kv, step, k, v, arrivals, stream);
    case KvElement::kF16:
      return launch_append<KvElement::kF16>(kv, step, k, v, arrivals, stream);
    case KvElement::kInt8:
      return launch_append<KvElement::kInt8>(kv, step, k, v, arrivals, stream);
    case KvElement::kQ8_0:
      return launch_append<KvElement::kQ8_0>(kv, step, k, v, arrivals, stream);
    case KvElement::kQ4_0:
      return launch_append<KvElement::kQ4_0>(kv, step, k, v, arrivals, stream);
  }
}

}  // namespace rt::cuda
