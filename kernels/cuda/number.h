// Element types of values and weights on the device, and their conversions to and from f32.
//
// Values between operators have a type that is known when a kernel is launched: f32, bf16 or f16.
// Kernels read and write them through load() and store(), a branch that all threads take alike, so
// that only the type that the bandwidth goes to (weights, the KV cache) multiplies the kernels.
//
// One bf16 is converted with integer instructions and rounds exactly as kernels/cpu/number.h does,
// so a cache written here has the bytes of one written there; f16 has conversions in hardware.
#pragma once

#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <stdint.h>

#include <type_traits>

#include "kernels/cuda/element.h"
#include "kernels/cuda/launch.h"

namespace rt::cuda {

struct Bf16 {
  uint16_t bits;
};
struct F16 {
  uint16_t bits;
};

__device__ inline float to_f32(float x) {
  return x;
}
__device__ inline float to_f32(Bf16 x) {
  return __uint_as_float(static_cast<uint32_t>(x.bits) << 16);
}
__device__ inline float to_f32(F16 x) {
  return __half2float(__ushort_as_half(x.bits));
}

__device__ inline void round_to(float x, float* out) {
  *out = x;
}
__device__ inline void round_to(float x, Bf16* out) {
  const uint32_t bits = __float_as_uint(x);
  const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
  const uint32_t rounded = nan ? bits | 0x400000u : bits + 0x7fffu + (bits >> 16 & 1u);
  out->bits = static_cast<uint16_t>(rounded >> 16);
}
__device__ inline void round_to(float x, F16* out) {
  out->bits = __half_as_ushort(__float2half_rn(x));
}

// Two neighbours, rounded and side by side: one instruction for a pair, where round_to takes seven
// for each bf16. A NaN stays one, of other bits.
template <class T>
__device__ inline uint32_t rounded_pair(float first, float second) {
#ifdef __CUDA_ARCH__
  uint32_t pair;
  if constexpr (std::is_same_v<T, Bf16>) {
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
  } else {
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
  }
  return pair;
#else
  T low, high;
  round_to(first, &low);
  round_to(second, &high);
  return low.bits | static_cast<uint32_t>(high.bits) << 16;
#endif
}

// Four bytes of a (0 to 3) and b (4 to 7), one for each nibble of the selector's low half; where a
// nibble has its high bit, eight times the byte's.
__device__ inline uint32_t permute_bytes(uint32_t a, uint32_t b, uint32_t selector) {
#ifdef __CUDA_ARCH__
  uint32_t out;
  asm("prmt.b32 %0, %1, %2, %3;" : "=r"(out) : "r"(a), "r"(b), "r"(selector));
  return out;
#else
  const uint64_t from = a | static_cast<uint64_t>(b) << 32;
  uint32_t out = 0;
  for (unsigned i = 0; i < 4; ++i) {
    const uint32_t nibble = selector >> (4 * i) & 15;
    const auto byte = static_cast<uint32_t>(from >> (8 * (nibble & 7)) & 255);
    out |= ((nibble & 8) == 0 ? byte : byte >> 7 != 0 ? 255u : 0u) << (8 * i);
  }
  return out;
#endif
}

__device__ inline float load(const void* values, Element type, uint64_t i) {
  if (type == Element::kF32) return static_cast<const float*>(values)[i];
  if (type == Element::kBf16) return to_f32(static_cast<const Bf16*>(values)[i]);
  return to_f32(static_cast<const F16*>(values)[i]);
}
__device__ inline void store(void* values, Element type, uint64_t i, float x) {
  if (type == Element::kF32) return round_to(x, static_cast<float*>(values) + i);
  if (type == Element::kBf16) return round_to(x, static_cast<Bf16*>(values) + i);
  round_to(x, static_cast<F16*>(values) + i);
}

// x as it is between two operators.
__device__ inline float rounded(float x, Element type) {
  if (type == Element::kF32) return x;
  if (type == Element::kBf16) {
    Bf16 bits;
    round_to(x, &bits);
    return to_f32(bits);
  }
  F16 bits;
  round_to(x, &bits);
  return to_f32(bits);
}

// Element i of `out`: x, or where there is a residual x added to its element i, rounded before as
// it would be between two operators.
__device__ inline void store_sum(const Matrix& out, const Matrix& residual, uint64_t i, float x) {
  if (residual.data != nullptr) {
    x = load(residual.data, residual.element, i) + rounded(x, out.element);
  }
  store(out.data, out.element, i, x);
}

// 16 bytes at once, the widest load there is.
struct alignas(16) Bytes16 {
  uint32_t words[4];
};

// Eight elements as they lie in memory. A load is under way until its bytes are used, and nothing
// uses them before they are unpacked: loads that shall be under way together are kept in these.
template <class T>
struct alignas(16) Raw8 {
  Bytes16 parts[sizeof(T) / 2];
};

// Elements [0, 8) from `from` on; 16-byte aligned.
template <class T>
__device__ inline Raw8<T> load_raw8(const T* from) {
  Raw8<T> raw;
  RT_UNROLL
  for (unsigned i = 0; i < sizeof(T) / 2; ++i) {
    raw.parts[i] = reinterpret_cast<const Bytes16*>(from)[i];
  }
  return raw;
}

// 16 bytes of a weight, which a kernel reads once: evicted first, so that values stay in L1.
__device__ inline Bytes16 bytes_of_weight(const void* from) {
#ifdef __CUDA_ARCH__
  const uint4 bytes = __ldcs(static_cast<const uint4*>(from));
  return {{bytes.x, bytes.y, bytes.z, bytes.w}};
#else
  return *static_cast<const Bytes16*>(from);
#endif
}
template <class T>
__device__ inline Raw8<T> load_raw_weight8(const T* from) {
  Raw8<T> raw;
  RT_UNROLL
  for (unsigned i = 0; i < sizeof(T) / 2; ++i) {
    raw.parts[i] = bytes_of_weight(from + i * 16 / sizeof(T));
  }
  return raw;
}

__device__ inline void unpack(const Raw8<Bf16>& raw, float* out) {
  RT_UNROLL
  for (int i = 0; i < 4; ++i) {
    out[2 * i] = __uint_as_float(raw.parts[0].words[i] << 16);
    out[2 * i + 1] = __uint_as_float(raw.parts[0].words[i] & 0xffff0000u);
  }
}
__device__ inline void unpack(const Raw8<F16>& raw, float* out) {
  RT_UNROLL
  for (int i = 0; i < 4; ++i) {
    out[2 * i] = to_f32(F16{static_cast<uint16_t>(raw.parts[0].words[i] & 0xffffu)});
    out[2 * i + 1] = to_f32(F16{static_cast<uint16_t>(raw.parts[0].words[i] >> 16)});
  }
}
__device__ inline void unpack(const Raw8<float>& raw, float* out) {
  RT_UNROLL
  for (int i = 0; i < 8; ++i) out[i] = __uint_as_float(raw.parts[i / 4].words[i % 4]);
}

template <class T>
__device__ inline void load8(const T* from, float* out) {
  unpack(load_raw8(from), out);
}

__device__ inline Raw8<float> pack(const float* x, const float*) {
  Raw8<float> raw;
  RT_UNROLL
  for (int i = 0; i < 8; ++i) raw.parts[i / 4].words[i % 4] = __float_as_uint(x[i]);
  return raw;
}
template <class T>
__device__ inline Raw8<T> pack(const float* x, const T*) {
  Raw8<T> raw;
  RT_UNROLL
  for (int i = 0; i < 4; ++i) raw.parts[0].words[i] = rounded_pair<T>(x[2 * i], x[2 * i + 1]);
  return raw;
}

// The same of an array that may be aligned to its elements only, or end within the eight: what is
// missing reads as 0. `aligned` is the same for all threads.
template <class T>
__device__ inline void load8(const T* array, uint64_t first, uint64_t count, bool aligned,
                             float* out) {
  if (aligned) return load8(array + first, out);
  for (int i = 0; i < 8; ++i) {
    out[i] = first + i < count ? to_f32(array[first + i]) : 0.0f;
  }
}
__device__ inline void load8(const void* values, Element type, uint64_t first, uint64_t count,
                             bool aligned, float* out) {
  if (type == Element::kF32) {
    load8(static_cast<const float*>(values), first, count, aligned, out);
  } else if (type == Element::kBf16) {
    load8(static_cast<const Bf16*>(values), first, count, aligned, out);
  } else {
    load8(static_cast<const F16*>(values), first, count, aligned, out);
  }
}

// Past L1: what another block of the kernel has written.
template <class T>
__device__ inline Bytes16 bytes_from_l2(const T* from) {
#ifdef __CUDA_ARCH__
  const uint4 bytes = __ldcg(reinterpret_cast<const uint4*>(from));
  return {{bytes.x, bytes.y, bytes.z, bytes.w}};
#else
  return *reinterpret_cast<const Bytes16*>(from);
#endif
}
__device__ inline float element_from_l2(const float* from) {
  return __ldcg(from);
}
template <class T>
__device__ inline float element_from_l2(const T* from) {
  return to_f32(T{__ldcg(&from->bits)});
}
template <class T>
__device__ inline void load8_from_l2(const T* array, uint64_t first, uint64_t count, bool aligned,
                                     float* out) {
  if (aligned) {
    Raw8<T> raw;
    RT_UNROLL
    for (unsigned i = 0; i < sizeof(T) / 2; ++i) {
      raw.parts[i] = bytes_from_l2(array + first + i * 16 / sizeof(T));
    }
    return unpack(raw, out);
  }
  for (int i = 0; i < 8; ++i) {
    out[i] = first + i < count ? element_from_l2(array + first + i) : 0.0f;
  }
}
__device__ inline void load8_from_l2(const void* values, Element type, uint64_t first,
                                     uint64_t count, bool aligned, float* out) {
  if (type == Element::kF32) {
    load8_from_l2(static_cast<const float*>(values), first, count, aligned, out);
  } else if (type == Element::kBf16) {
    load8_from_l2(static_cast<const Bf16*>(values), first, count, aligned, out);
  } else {
    load8_from_l2(static_cast<const F16*>(values), first, count, aligned, out);
  }
}

// x to elements [first, first + 8) of an array of `count`, as load8 reads them.
template <class T>
__device__ inline void store8(T* array, uint64_t first, uint64_t count, bool aligned,
                              const float* x) {
  if (aligned) {
    *reinterpret_cast<Raw8<T>*>(array + first) = pack(x, array);
    return;
  }
  for (int i = 0; i < 8; ++i) {
    if (first + i < count) round_to(x[i], array + first + i);
  }
}
__device__ inline void store8(void* values, Element type, uint64_t first, uint64_t count,
                              bool aligned, const float* x) {
  if (type == Element::kF32) {
    store8(static_cast<float*>(values), first, count, aligned, x);
  } else if (type == Element::kBf16) {
    store8(static_cast<Bf16*>(values), first, count, aligned, x);
  } else {
    store8(static_cast<F16*>(values), first, count, aligned, x);
  }
}

}  // namespace rt::cuda
