// RT_ASSERT: what types and the loaders do not already guarantee. A failure is a mistake of ours,
// never of an input: it prints where and why, then aborts. Always on (one compare per use).
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace rt {

[[noreturn]] inline void assert_failed(const char* expression, const char* file, int line) {
  std::fprintf(stderr, "runtime: internal error: %s:%d: assertion failed: %s\n", file, line,
               expression);
  std::abort();
}

[[noreturn]] inline void assert_compare_failed(const char* expression, std::int64_t left,
                                               std::int64_t right, const char* file, int line) {
  std::fprintf(stderr, "runtime: internal error: %s:%d: assertion failed: %s (%lld and %lld)\n",
               file, line, expression, static_cast<long long>(left), static_cast<long long>(right));
  std::abort();
}

}  // namespace rt

#define RT_ASSERT(condition) \
  ((condition) ? (void)0 : ::rt::assert_failed(#condition, __FILE__, __LINE__))

// RT_ASSERT_EQ, _LE, _LT print both integers.
#define RT_ASSERT_OP_(a, op, b)                                                          \
  do {                                                                                   \
    const auto rt_a_ = (a);                                                              \
    const auto rt_b_ = (b);                                                              \
    if (!(rt_a_ op rt_b_))                                                               \
      ::rt::assert_compare_failed(#a " " #op " " #b, static_cast<std::int64_t>(rt_a_),   \
                                  static_cast<std::int64_t>(rt_b_), __FILE__, __LINE__); \
  } while (0)
#define RT_ASSERT_EQ(a, b) RT_ASSERT_OP_(a, ==, b)
#define RT_ASSERT_LE(a, b) RT_ASSERT_OP_(a, <=, b)
#define RT_ASSERT_LT(a, b) RT_ASSERT_OP_(a, <, b)
