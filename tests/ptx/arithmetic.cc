// Integer and floating-point instructions.
#include <cfenv>
#include <cmath>

#include "tests/ptx/lanes.h"
#include "tests/ptx/operations.h"

namespace ptx {
namespace {

template <class T>
using Bits = std::make_unsigned_t<T>;

struct Add {
  template <class T>
  T operator()(T a, T b) const {
    if constexpr (std::is_integral_v<T>) return static_cast<T>(Bits<T>(a) + Bits<T>(b));
    return a + b;
  }
};
struct Subtract {
  template <class T>
  T operator()(T a, T b) const {
    if constexpr (std::is_integral_v<T>) return static_cast<T>(Bits<T>(a) - Bits<T>(b));
    return a - b;
  }
};
struct Multiply {  // the low half of an integer's product
  template <class T>
  T operator()(T a, T b) const {
    if constexpr (std::is_integral_v<T>) {
      return static_cast<T>(static_cast<std::uint64_t>(a) * static_cast<std::uint64_t>(b));
    }
    return a * b;
  }
};
template <class D>
struct MultiplyWide {
  template <class T>
  D operator()(T a, T b) const {
    return static_cast<D>(static_cast<D>(a) * static_cast<D>(b));
  }
};
struct MultiplyHigh {
  template <class T>
  T operator()(T a, T b) const {
    using Wide = std::conditional_t<std::is_signed_v<T>, __int128, unsigned __int128>;
    return static_cast<T>(static_cast<Wide>(a) * static_cast<Wide>(b) >> (8 * sizeof(T)));
  }
};
struct MultiplyAdd {
  template <class T>
  T operator()(T a, T b, T c) const {
    return Add()(Multiply()(a, b), c);
  }
};
template <class D>
struct MultiplyWideAdd {
  template <class T>
  D operator()(T a, T b, D c) const {
    return Add()(MultiplyWide<D>()(a, b), c);
  }
};
struct Divide {
  template <class T>
  T operator()(T a, T b) const {
    if constexpr (std::is_integral_v<T>) {
      if (b == 0) return static_cast<T>(-1);  // "unspecified"
      if (b == static_cast<T>(-1) && std::is_signed_v<T>)
        return static_cast<T>(Bits<T>(0) - Bits<T>(a));
    }
    return static_cast<T>(a / b);
  }
};
struct Remainder {
  template <class T>
  T operator()(T a, T b) const {
    if (b == 0) return a;
    if (b == static_cast<T>(-1) && std::is_signed_v<T>) return 0;
    return static_cast<T>(a % b);
  }
};
struct Least {
  template <class T>
  T operator()(T a, T b) const {
    if constexpr (std::is_floating_point_v<T>) return std::fmin(a, b);
    return a < b ? a : b;
  }
};
struct Most {
  template <class T>
  T operator()(T a, T b) const {
    if constexpr (std::is_floating_point_v<T>) return std::fmax(a, b);
    return a > b ? a : b;
  }
};
struct Negate {
  template <class T>
  T operator()(T a) const {
    if constexpr (std::is_integral_v<T>) return static_cast<T>(Bits<T>(0) - Bits<T>(a));
    return -a;
  }
};
struct Absolute {
  template <class T>
  T operator()(T a) const {
    if constexpr (std::is_integral_v<T>) return a < 0 ? Negate()(a) : a;
    return std::fabs(a);
  }
};
struct And {
  template <class T>
  T operator()(T a, T b) const {
    return static_cast<T>(a & b);
  }
};
struct Or {
  template <class T>
  T operator()(T a, T b) const {
    return static_cast<T>(a | b);
  }
};
struct Xor {
  template <class T>
  T operator()(T a, T b) const {
    return static_cast<T>(a ^ b);
  }
};
struct Not {
  template <class T>
  T operator()(T a) const {
    return static_cast<T>(~a);
  }
};
// Shifts by as many bits as there are, or more, leave nothing but the sign.
struct ShiftLeft {
  template <class T>
  T operator()(T a, std::uint32_t n) const {
    return n >= 8 * sizeof(T) ? T{0} : static_cast<T>(static_cast<std::uint64_t>(a) << n);
  }
};
struct ShiftRight {
  template <class T>
  T operator()(T a, std::uint32_t n) const {
    if (n < 8 * sizeof(T)) return static_cast<T>(a >> n);
    return a < 0 ? static_cast<T>(-1) : T{0};
  }
};
struct CountOnes {
  template <class T>
  std::uint32_t operator()(T a) const {
    return static_cast<std::uint32_t>(__builtin_popcountll(a));
  }
};
struct CountLeadingZeros {
  template <class T>
  std::uint32_t operator()(T a) const {
    if (a == 0) return 8 * sizeof(T);
    return static_cast<std::uint32_t>(__builtin_clzll(a)) - (64 - 8 * sizeof(T));
  }
};
struct PermuteBytes {
  std::uint32_t operator()(std::uint32_t a, std::uint32_t b, std::uint32_t selector) const {
    const std::uint64_t pool = static_cast<std::uint64_t>(b) << 32 | a;
    std::uint32_t bytes = 0;
    for (unsigned i = 0; i < 4; ++i) {
      const std::uint32_t nibble = selector >> (4 * i) & 15;
      auto byte = static_cast<std::uint32_t>(pool >> (8 * (nibble & 7)) & 255);
      if ((nibble & 8) != 0) byte = (byte & 128) != 0 ? 255 : 0;
      bytes |= byte << (8 * i);
    }
    return bytes;
  }
};
// "x.ftz": numbers too small for the exponent are zeros.
float flush(float x) {
  return std::fpclassify(x) == FP_SUBNORMAL ? std::copysign(0.0f, x) : x;
}
struct Reciprocal {
  template <class T>
  T operator()(T a) const {
    return 1 / a;
  }
};
struct ReciprocalFlushed {
  float operator()(float a) const { return flush(1 / flush(a)); }
};
// As exact as the upper half of a double.
struct ReciprocalUpper {
  double operator()(double a) const {
    const double result = 1 / a;
    std::uint64_t bits;
    std::memcpy(&bits, &result, sizeof bits);
    bits &= 0xffffffff00000000u;
    double upper;
    std::memcpy(&upper, &bits, sizeof upper);
    return std::fpclassify(upper) == FP_SUBNORMAL ? std::copysign(0.0, upper) : upper;
  }
};
struct SquareRoot {
  template <class T>
  T operator()(T a) const {
    return std::sqrt(a);
  }
};
struct PowerOfTwoFlushed {
  float operator()(float a) const {
    return flush(static_cast<float>(std::exp2(static_cast<double>(flush(a)))));
  }
};
struct CopySign {  // of a to b
  template <class T>
  T operator()(T a, T b) const {
    return std::copysign(b, a);
  }
};
struct MultiplyAddDouble {
  double operator()(double a, double b, double c) const { return std::fma(a, b, c); }
};
// The function is volatile so that the compiler computes nothing ahead, in another rounding.
struct MultiplyAddDown {
  float operator()(float a, float b, float c) const {
    static float (*volatile const fused)(float, float, float) = &std::fmaf;
    std::fesetround(FE_DOWNWARD);
    const float result = fused(a, b, c);
    std::fesetround(FE_TONEAREST);
    return result;
  }
};

// fma.rn.f32, most of what the kernels do: for all lanes, by the processor's own instruction.
using Lanes = float[kLanes];
void fused_plain(float* d, const float* a, const float* b, const float* c) {
  for (unsigned i = 0; i < kLanes; ++i) d[i] = std::fmaf(a[i], b[i], c[i]);
}
#ifdef __x86_64__
__attribute__((target("avx2,fma"))) void fused_avx2(float* d, const float* a, const float* b,
                                                    const float* c) {
  for (unsigned i = 0; i < kLanes; ++i) d[i] = __builtin_fmaf(a[i], b[i], c[i]);
}
#endif
auto choose_fused() {
#ifdef __x86_64__
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return &fused_avx2;
#endif
  return &fused_plain;
}
void multiply_add_f32(Warp& warp, const Instruction& i) {
  static const auto fused = choose_fused();
  const auto lanes = [&](Operand operand) { return reinterpret_cast<float*>(warp.at(operand, 0)); };
  Lanes d;
  fused(d, lanes(i.from[0]), lanes(i.from[1]), lanes(i.from[2]));
  float* const to = lanes(i.to[0]);
  for_each_lane(warp.mask, [&](unsigned lane) { to[lane] = d[lane]; });
}

template <class T>
void insert_bits(Warp& warp, const Instruction& i) {
  for_each_lane(warp.mask, [&](unsigned lane) {
    const auto a = get<T>(warp.at(i.from[0], lane));
    const auto b = get<T>(warp.at(i.from[1], lane));
    const std::uint32_t at = get<std::uint32_t>(warp.at(i.from[2], lane)) & 255;
    const std::uint32_t count = get<std::uint32_t>(warp.at(i.from[3], lane)) & 255;
    T bits = b;
    for (std::uint32_t k = 0; k < count && at + k < 8 * sizeof(T); ++k) {
      const T bit = T{1} << (at + k);
      bits = static_cast<T>((bits & ~bit) | ((a >> k & 1) != 0 ? bit : T{0}));
    }
    put<T>(warp.at(i.to[0], lane), bits, stride_of<T>());
  });
}

template <class T>
void select(Warp& warp, const Instruction& i) {
  const std::uint32_t first = warp.predicate(i.predicates[0]);
  for_each_lane(warp.mask, [&](unsigned lane) {
    const Operand from = i.from[(first >> lane & 1) != 0 ? 0 : 1];
    put<T>(warp.at(i.to[0], lane), get<T>(warp.at(from, lane)), stride_of<T>());
  });
}

template <class F>
Run same_type(std::string_view type) {  // d, a and b
  return for_number(type, []<class T>() -> Run { return &binary<F, T, T, T>; });
}
template <class F>
Run same_integer(std::string_view type) {
  return for_integer(type, []<class T>() -> Run { return &binary<F, T, T, T>; });
}

Run find_integer_product(const Name& name) {
  const std::string_view type = name.back();
  const bool adds = name[0] == "mad";
  if (name.size() != 3) return nullptr;  // with carries
  if (name[1] == "lo") {
    return for_integer(type, [=]<class T>() -> Run {
      return adds ? &ternary<MultiplyAdd, T, T, T> : Run{&binary<Multiply, T, T, T>};
    });
  }
  if (name[1] == "hi" && !adds) return same_integer<MultiplyHigh>(type);
  if (name[1] != "wide") return nullptr;
  const auto wide = [=]<class D, class T>() -> Run {
    return adds ? &ternary<MultiplyWideAdd<D>, D, T, D> : Run{&binary<MultiplyWide<D>, D, T, T>};
  };
  if (type == "u16") return wide.operator()<std::uint32_t, std::uint16_t>();
  if (type == "s16") return wide.operator()<std::int32_t, std::int16_t>();
  if (type == "u32") return wide.operator()<std::uint64_t, std::uint32_t>();
  if (type == "s32") return wide.operator()<std::int64_t, std::int32_t>();
  return nullptr;
}

Run find_fused(const Name& name) {
  if (name.size() != 3) return nullptr;
  if (name.back() == "f64" && name[1] == "rn") {
    return &ternary<MultiplyAddDouble, double, double, double>;
  }
  if (name.back() != "f32") return nullptr;
  if (name[1] == "rm") return &ternary<MultiplyAddDown, float, float, float>;
  return name[1] == "rn" ? &multiply_add_f32 : nullptr;
}

Run find_bits(const Name& name) {
  const std::string_view type = name.back();
  if (name[0] == "and") return same_integer<And>(type);
  if (name[0] == "or") return same_integer<Or>(type);
  if (name[0] == "xor") return same_integer<Xor>(type);
  if (name[0] == "not") {
    return for_integer(type, []<class T>() -> Run { return &unary<Not, T, T>; });
  }
  if (name[0] == "shl") {
    return for_integer(type,
                       []<class T>() -> Run { return &binary<ShiftLeft, T, T, std::uint32_t>; });
  }
  if (name[0] == "shr") {
    return for_integer(type,
                       []<class T>() -> Run { return &binary<ShiftRight, T, T, std::uint32_t>; });
  }
  if (name[0] == "popc") {
    return type == "b64" ? &unary<CountOnes, std::uint32_t, std::uint64_t>
                         : &unary<CountOnes, std::uint32_t, std::uint32_t>;
  }
  if (name[0] == "clz") {
    return type == "b64" ? &unary<CountLeadingZeros, std::uint32_t, std::uint64_t>
                         : &unary<CountLeadingZeros, std::uint32_t, std::uint32_t>;
  }
  if (name[0] == "bfi") {
    return type == "b64" ? &insert_bits<std::uint64_t> : &insert_bits<std::uint32_t>;
  }
  if (name[0] == "prmt" && name.size() == 2) {
    return &ternary<PermuteBytes, std::uint32_t, std::uint32_t, std::uint32_t>;
  }
  return nullptr;
}

Run find_function(const Name& name) {
  const std::string_view type = name.back();
  const bool flushes = has(name, "ftz");
  if (name[0] == "rcp") {
    if (flushes && type == "f32") return &unary<ReciprocalFlushed, float, float>;
    if (flushes) return &unary<ReciprocalUpper, double, double>;
    if (!has(name, "rn")) return nullptr;
    return for_float(type, []<class T>() -> Run { return &unary<Reciprocal, T, T>; });
  }
  if (name[0] == "sqrt" && has(name, "rn") && !flushes) {
    return for_float(type, []<class T>() -> Run { return &unary<SquareRoot, T, T>; });
  }
  if (name[0] == "ex2" && flushes) return &unary<PowerOfTwoFlushed, float, float>;
  if (name[0] == "copysign") {
    return for_float(type, []<class T>() -> Run { return &binary<CopySign, T, T, T>; });
  }
  return nullptr;
}

}  // namespace

Run find_arithmetic(const Name& name) {
  const std::string_view type = name.back();
  if (name[0] == "mad" || (name[0] == "mul" && type[0] != 'f')) return find_integer_product(name);
  if (name[0] == "fma") return find_fused(name);
  if (name[0] == "selp") {
    return for_number(type, []<class T>() -> Run { return &select<T>; });
  }
  if (const Run run = find_bits(name); run != nullptr) return run;
  if (const Run run = find_function(name); run != nullptr) return run;
  // Of what may stand between name and type (carries, ftz, sat, other roundings) nothing is known
  // but that it rounds to the nearest, and a quotient that may be less exact than that.
  const bool rounds = name.size() == 3 && type[0] == 'f' && name[1] == "rn";
  const bool plain = name.size() == 2;
  if (name[0] == "div" && name.size() == 3 && name[1] == "approx") return same_type<Divide>(type);
  if (!plain && !rounds) return nullptr;
  if (name[0] == "add") return same_type<Add>(type);
  if (name[0] == "sub") return same_type<Subtract>(type);
  if (name[0] == "mul") return same_type<Multiply>(type);
  if (name[0] == "div") return same_type<Divide>(type);
  if (!plain) return nullptr;
  if (name[0] == "rem") return same_integer<Remainder>(type);
  if (name[0] == "min") return same_type<Least>(type);
  if (name[0] == "max") return same_type<Most>(type);
  if (name[0] == "neg") {
    return for_number(type, []<class T>() -> Run { return &unary<Negate, T, T>; });
  }
  if (name[0] == "abs") {
    return for_number(type, []<class T>() -> Run { return &unary<Absolute, T, T>; });
  }
  return nullptr;
}

}  // namespace ptx
