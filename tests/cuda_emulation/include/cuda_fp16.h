// Stands in for the CUDA toolkit's header of this name: f16 as its bits, with the conversions.
#pragma once

#include "core/sdk/number.hpp"

struct __half {
  unsigned short bits;
};
inline __half __ushort_as_half(unsigned short bits) {
  return {bits};
}
inline unsigned short __half_as_ushort(__half x) {
  return x.bits;
}
inline float __half2float(__half x) {
  return rt::sdk::f16_to_f32(x.bits);
}
inline __half __float2half_rn(float x) {
  return {rt::sdk::f32_to_f16(x)};
}
