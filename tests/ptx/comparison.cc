// Comparisons, and instructions on the predicates that they write.
#include <functional>

#include "tests/ptx/lanes.h"
#include "tests/ptx/operations.h"

namespace ptx {
namespace {

enum class How { kEq, kNe, kLt, kLe, kGt, kGe };
template <class T, How kHow, bool kOrNan>
void set_predicate(Warp& warp, const Instruction& i) {
  const unsigned char* const a = warp.at(i.from[0], 0);
  const unsigned char* const b = warp.at(i.from[1], 0);
  std::uint32_t holds = 0;
  for (unsigned lane = 0; lane < kLanes; ++lane) {
    const T x = get<T>(a + lane * stride_of<T>());
    const T y = get<T>(b + lane * stride_of<T>());
    bool is = kHow == How::kEq   ? x == y
              : kHow == How::kNe ? x < y || x > y
              : kHow == How::kLt ? x < y
              : kHow == How::kLe ? x <= y
              : kHow == How::kGt ? x > y
                                 : x >= y;
    if constexpr (std::is_floating_point_v<T>) is = is || (kOrNan && (x != x || y != y));
    holds |= is ? 1u << lane : 0u;
  }
  std::uint32_t& to = warp.predicate(i.predicate);
  to = (to & ~warp.mask) | (holds & warp.mask);
}
template <class T, bool kIsNan>
void set_if_nan(Warp& warp, const Instruction& i) {
  std::uint32_t& to = warp.predicate(i.predicate);
  for_each_lane(warp.mask, [&](unsigned lane) {
    const T x = get<T>(warp.at(i.from[0], lane));
    const T y = get<T>(warp.at(i.from[1], lane));
    const bool nan = x != x || y != y;
    to = (to & ~(1u << lane)) | (nan == kIsNan ? 1u << lane : 0u);
  });
}

template <class T, bool kOrNan>
Run comparison_of(std::string_view how) {
  if (how == "eq") return &set_predicate<T, How::kEq, kOrNan>;
  if (how == "ne") return &set_predicate<T, How::kNe, kOrNan>;
  if (how == "lt" || how == "lo") return &set_predicate<T, How::kLt, kOrNan>;
  if (how == "le" || how == "ls") return &set_predicate<T, How::kLe, kOrNan>;
  if (how == "gt" || how == "hi") return &set_predicate<T, How::kGt, kOrNan>;
  if (how == "ge" || how == "hs") return &set_predicate<T, How::kGe, kOrNan>;
  return nullptr;
}

// --- predicates

template <class F>
void on_predicates(Warp& warp, const Instruction& i) {
  const std::uint32_t value = F()(warp.predicate(i.predicates[0]), warp.predicate(i.predicates[1]));
  std::uint32_t& to = warp.predicate(i.predicate);
  to = (to & ~warp.mask) | (value & warp.mask);
}
struct First {
  std::uint32_t operator()(std::uint32_t a, std::uint32_t) const { return a; }
};
struct NotFirst {
  std::uint32_t operator()(std::uint32_t a, std::uint32_t) const { return ~a; }
};

}  // namespace

Run find_comparison(const Name& name) {
  if (name[0] != "setp" || name.size() != 3) return nullptr;
  const std::string_view how = name[1];
  const std::string_view type = name[2];
  if (type[0] != 'f') {
    return for_integer(type, [=]<class T>() -> Run { return comparison_of<T, false>(how); });
  }
  return for_float(type, [=]<class T>() -> Run {
    if (how == "nan") return &set_if_nan<T, true>;
    if (how == "num") return &set_if_nan<T, false>;
    if (how.size() == 3 && how[2] == 'u') return comparison_of<T, true>(how.substr(0, 2));
    return comparison_of<T, false>(how);
  });
}

Run find_predicate(const Name& name) {
  if (name.size() != 2 || name[1] != "pred") return nullptr;
  if (name[0] == "and") return &on_predicates<std::bit_and<>>;
  if (name[0] == "or") return &on_predicates<std::bit_or<>>;
  if (name[0] == "xor") return &on_predicates<std::bit_xor<>>;
  if (name[0] == "not") return &on_predicates<NotFirst>;
  return name[0] == "mov" ? &on_predicates<First> : nullptr;
}

}  // namespace ptx
