// Values in a warp's registers, and operations on them lane by lane.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>
#include <type_traits>

#include "tests/ptx/warp.h"

namespace ptx {

template <class T>
T get(const unsigned char* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

// Fills the lane: what is narrower than a register is extended by its sign, if it has one.
template <class T>
void put(unsigned char* to, T value, std::uint32_t stride) {
  if constexpr (std::is_integral_v<T>) {
    const auto wide = static_cast<std::uint64_t>(static_cast<std::int64_t>(value));
    const auto zero_extended = std::is_signed_v<T> ? wide : static_cast<std::uint64_t>(value);
    stride == 8 ? std::memcpy(to, &zero_extended, 8) : std::memcpy(to, &zero_extended, 4);
  } else {
    std::memcpy(to, &value, sizeof value);
  }
}

template <class T>
constexpr std::uint32_t stride_of() {
  return sizeof(T) == 8 ? 8 : 4;
}

template <class F>
void for_each_lane(std::uint32_t mask, F f) {
  if (mask == kAll) {
    for (unsigned lane = 0; lane < kLanes; ++lane) f(lane);
    return;
  }
  for (; mask != 0; mask &= mask - 1) f(static_cast<unsigned>(__builtin_ctz(mask)));
}

// d = f(a, b, c), where D is of d, and A, B and C are of a, b and c.
template <class F, class D, class A>
void unary(Warp& warp, const Instruction& i) {
  unsigned char* const d = warp.at(i.to[0], 0);
  const unsigned char* const a = warp.at(i.from[0], 0);
  for_each_lane(warp.mask, [=](unsigned lane) {
    put<D>(d + lane * stride_of<D>(), F()(get<A>(a + lane * stride_of<A>())), stride_of<D>());
  });
}
template <class F, class D, class A, class B>
void binary(Warp& warp, const Instruction& i) {
  unsigned char* const d = warp.at(i.to[0], 0);
  const unsigned char* const a = warp.at(i.from[0], 0);
  const unsigned char* const b = warp.at(i.from[1], 0);
  for_each_lane(warp.mask, [=](unsigned lane) {
    put<D>(d + lane * stride_of<D>(),
           F()(get<A>(a + lane * stride_of<A>()), get<B>(b + lane * stride_of<B>())),
           stride_of<D>());
  });
}
template <class F, class D, class A, class C>
void ternary(Warp& warp, const Instruction& i) {
  unsigned char* const d = warp.at(i.to[0], 0);
  const unsigned char* const a = warp.at(i.from[0], 0);
  const unsigned char* const b = warp.at(i.from[1], 0);
  const unsigned char* const c = warp.at(i.from[2], 0);
  for_each_lane(warp.mask, [=](unsigned lane) {
    put<D>(d + lane * stride_of<D>(),
           F()(get<A>(a + lane * stride_of<A>()), get<A>(b + lane * stride_of<A>()),
               get<C>(c + lane * stride_of<C>())),
           stride_of<D>());
  });
}

// f.operator()<T>() for the type that PTX calls `type`, b32 being u32; NULL for any other.
template <class F>
Run for_integer(std::string_view type, F f) {
  if (type == "u8" || type == "b8") return f.template operator()<std::uint8_t>();
  if (type == "s8") return f.template operator()<std::int8_t>();
  if (type == "u16" || type == "b16") return f.template operator()<std::uint16_t>();
  if (type == "s16") return f.template operator()<std::int16_t>();
  if (type == "u32" || type == "b32") return f.template operator()<std::uint32_t>();
  if (type == "s32") return f.template operator()<std::int32_t>();
  if (type == "u64" || type == "b64") return f.template operator()<std::uint64_t>();
  if (type == "s64") return f.template operator()<std::int64_t>();
  return nullptr;
}
template <class F>
Run for_float(std::string_view type, F f) {
  if (type == "f32") return f.template operator()<float>();
  if (type == "f64") return f.template operator()<double>();
  return nullptr;
}
template <class F>
Run for_number(std::string_view type, F f) {
  const Run run = for_integer(type, f);
  return run != nullptr ? run : for_float(type, f);
}

}  // namespace ptx
