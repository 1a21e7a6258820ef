// Members that a class may have or not: a missing one is left out, and one that is there under its
// name with another signature is a compile error, never left out.
//
//   RT_SDK_NAMES(prepare)
//   ...
//   if constexpr (names_prepare<Op>) {
//     static_assert(has_prepare<Op>, "expected `void prepare(const rt_step&, void*)`");
#pragma once

// names_member<Op>: Op has a member of that name, whatever it is: a function of any signature, a
// template, overloaded, inherited or private. A class that inherits Op and another `member` then
// has two, so that its name alone is ambiguous. (An expression that calls the member cannot tell a
// wrong signature from none.) Op is not final.
#define RT_SDK_NAMES(member)                    \
  struct Other_##member {                       \
    int member;                                 \
  };                                            \
  template <class Op>                           \
  struct Both_##member : Op, Other_##member {}; \
  template <class Op>                           \
  concept names_##member = !requires {          \
    &Both_##member<Op>::member;                 \
  };
