// cvt, and mov where it takes registers apart or puts them together.
#include <algorithm>
#include <cmath>
#include <limits>

#include "core/sdk/number.hpp"
#include "tests/ptx/lanes.h"
#include "tests/ptx/operations.h"

namespace ptx {
namespace {

std::uint32_t f16_of(float x) {
  return std::isnan(x) ? 0x7fffu : rt::sdk::f32_to_f16(x);
}
std::uint32_t bf16_of(float x) {
  return std::isnan(x) ? 0x7fffu : rt::sdk::f32_to_bf16(x);
}

template <class D, class S>
void convert(Warp& warp, const Instruction& i) {
  for_each_lane(warp.mask, [&](unsigned lane) {
    const S from = get<S>(warp.at(i.from[0], lane));
    put<D>(warp.at(i.to[0], lane), static_cast<D>(from), i.to[0].stride);
  });
}
// To the nearest integer or towards zero, and never beyond the type; NaN is 0.
template <class D, class S, bool kNearest>
void to_integer(Warp& warp, const Instruction& i) {
  for_each_lane(warp.mask, [&](unsigned lane) {
    const S x = get<S>(warp.at(i.from[0], lane));
    const S whole = kNearest ? std::nearbyint(x) : std::trunc(x);
    constexpr auto kLeast = std::numeric_limits<D>::min();
    constexpr auto kMost = std::numeric_limits<D>::max();
    const D value = std::isnan(x)                     ? D{0}
                    : whole <= static_cast<S>(kLeast) ? kLeast
                    : whole >= static_cast<S>(kMost)  ? kMost
                                                      : static_cast<D>(whole);
    put<D>(warp.at(i.to[0], lane), value, i.to[0].stride);
  });
}
template <std::uint32_t (*kRound)(float)>
void to_half(Warp& warp, const Instruction& i) {
  for_each_lane(warp.mask, [&](unsigned lane) {
    const auto bits = kRound(get<float>(warp.at(i.from[0], lane)));
    put<std::uint32_t>(warp.at(i.to[0], lane), bits, 4);
  });
}
// The first of two is the upper half.
template <std::uint32_t (*kRound)(float)>
void to_halves(Warp& warp, const Instruction& i) {
  for_each_lane(warp.mask, [&](unsigned lane) {
    const auto upper = kRound(get<float>(warp.at(i.from[0], lane)));
    const auto lower = kRound(get<float>(warp.at(i.from[1], lane)));
    put<std::uint32_t>(warp.at(i.to[0], lane), upper << 16 | lower, 4);
  });
}
template <float (*kWiden)(std::uint16_t)>
void from_half(Warp& warp, const Instruction& i) {
  for_each_lane(warp.mask, [&](unsigned lane) {
    put<float>(warp.at(i.to[0], lane), kWiden(get<std::uint16_t>(warp.at(i.from[0], lane))), 4);
  });
}
void saturate(Warp& warp, const Instruction& i) {
  for_each_lane(warp.mask, [&](unsigned lane) {
    const float x = get<float>(warp.at(i.from[0], lane));
    put<float>(warp.at(i.to[0], lane), x > 0 ? std::min(x, 1.0f) : 0.0f, 4);
  });
}

Run find_half(const Name& name, std::string_view to, std::string_view from) {
  const bool nearest = name.size() == 4 && name[1] == "rn";
  if (from == "f32" && nearest) {
    if (to == "f16") return &to_half<f16_of>;
    if (to == "bf16") return &to_half<bf16_of>;
    if (to == "f16x2") return &to_halves<f16_of>;
    if (to == "bf16x2") return &to_halves<bf16_of>;
  }
  if (to == "f32" && from == "f16") return &from_half<rt::sdk::f16_to_f32>;
  if (to == "f32" && from == "bf16") return &from_half<rt::sdk::bf16_to_f32>;
  return nullptr;
}

// Several registers side by side in one, or one in several.
template <unsigned kBytes>
void pack(Warp& warp, const Instruction& i) {
  for_each_lane(warp.mask, [&](unsigned lane) {
    for (unsigned k = 0; k < i.count; ++k) {
      std::memcpy(warp.at(i.to[0], lane) + k * kBytes, warp.at(i.from[k], lane), kBytes);
    }
  });
}
template <unsigned kBytes>
void unpack(Warp& warp, const Instruction& i) {
  for_each_lane(warp.mask, [&](unsigned lane) {
    unsigned char all[8];
    std::memcpy(all, warp.at(i.from[0], lane), i.from[0].stride);
    for (unsigned k = 0; k < i.count; ++k) {
      std::memset(warp.at(i.to[k], lane), 0, i.to[k].stride);
      std::memcpy(warp.at(i.to[k], lane), all + k * kBytes, kBytes);
    }
  });
}
template <unsigned kBytes>
void move(Warp& warp, const Instruction& i) {
  unsigned char* const to = warp.at(i.to[0], 0);
  const unsigned char* const from = warp.at(i.from[0], 0);
  if (warp.mask == kAll) {
    std::memmove(to, from, std::size_t{kLanes} * kBytes);
    return;
  }
  for_each_lane(warp.mask, [=](unsigned lane) {
    std::memcpy(to + lane * kBytes, from + lane * kBytes, kBytes);
  });
}

}  // namespace

Run find_conversion(const Name& name) {
  if (name[0] != "cvt" || name.size() < 3) return nullptr;
  const std::string_view to = name[name.size() - 2];
  const std::string_view from = name.back();
  if (name.size() == 4 && name[1] == "sat" && to == "f32" && from == "f32") return &saturate;
  if (const Run run = find_half(name, to, from); run != nullptr) return run;
  if (to[0] != 'f' && from[0] == 'f') {
    const bool nearest = name[1] == "rni";
    if (!nearest && name[1] != "rzi") return nullptr;
    return for_integer(to, [=]<class D>() -> Run {
      return for_float(from, [=]<class S>() -> Run {
        return nearest ? &to_integer<D, S, true> : &to_integer<D, S, false>;
      });
    });
  }
  const bool exact = name.size() == 3;
  if (!exact && (name.size() != 4 || name[1] != "rn")) return nullptr;
  return for_number(to, [=]<class D>() -> Run {
    return for_number(from, [=]<class S>() -> Run { return &convert<D, S>; });
  });
}

Run find_move(bool packs, bool unpacks, unsigned bytes) {
  if (packs) return bytes == 4 ? &pack<4> : bytes == 2 ? &pack<2> : &pack<1>;
  if (unpacks) return bytes == 4 ? &unpack<4> : bytes == 2 ? &unpack<2> : &unpack<1>;
  return bytes == 8 ? &move<8> : &move<4>;
}

}  // namespace ptx
