// Result<T>: a value, or an Error that a person can act on.
//
// Every function of core that can fail on input returns one; nothing in core throws to its caller.
// An Error says which object, what was expected, what was found and what to do, and whose mistake
// it is, because the command's exit code follows from that (see Fault). Mistakes of our own are
// not Errors: they are RT_ASSERTs (assert.h).
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <variant>

namespace rt {

// Whose mistake it is. The numbers are the exit codes of the command.
enum class Fault {
  kBadInput = 2,     // a file, config, graph, plugin, shape or request is wrong
  kEnvironment = 3,  // the machine refuses: no memory, no permission, no device, file vanished
  kInternal = 70,    // a device or plugin failed while running
};

struct Error {
  Fault fault = Fault::kBadInput;
  std::string message;  // one sentence: object, expected, found, what to do
};

inline Error bad_input(std::string message) {
  return {Fault::kBadInput, std::move(message)};
}
inline Error environment(std::string message) {
  return {Fault::kEnvironment, std::move(message)};
}
inline Error internal(std::string message) {
  return {Fault::kInternal, std::move(message)};
}

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  // Precondition of the four below: ok(). (std::get throws when it is violated, which ends a
  // run as a failure of ours.)
  T& value() & { return std::get<0>(state_); }
  const T& value() const& { return std::get<0>(state_); }
  T&& value() && { return std::get<0>(std::move(state_)); }
  T* operator->() { return &value(); }
  T& operator*() & { return value(); }
  const T* operator->() const { return &value(); }
  const T& operator*() const& { return value(); }

  // Precondition: !ok().
  const Error& error() const& { return std::get<1>(state_); }
  Error&& error() && { return std::get<1>(std::move(state_)); }

 private:
  std::variant<T, Error> state_;
};

// Success without a value, or an Error.
template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}

  bool ok() const { return !error_.has_value(); }
  explicit operator bool() const { return ok(); }
  const Error& error() const& { return *error_; }
  Error&& error() && { return *std::move(error_); }

 private:
  std::optional<Error> error_;
};

using Status = Result<void>;

// Puts `where` in front of an error's message ("graphs/phi3.yaml: ...").
inline Error in(const std::string& where, Error error) {
  error.message = where + ": " + error.message;
  return error;
}

}  // namespace rt

#define RT_CONCAT_(a, b) a##b
#define RT_CONCAT(a, b) RT_CONCAT_(a, b)

// RT_TRY(declaration, expression): takes the value of a Result or returns its Error.
#define RT_TRY(declaration, expression) \
  RT_TRY_(RT_CONCAT(rt_result_, __LINE__), declaration, expression)
#define RT_TRY_(temporary, declaration, expression)         \
  auto temporary = (expression);                            \
  if (!temporary.ok()) return std::move(temporary).error(); \
  declaration = std::move(temporary).value()

// RT_RETURN_IF_ERROR(expression): returns the Error of a Status, if it is one.
#define RT_RETURN_IF_ERROR(expression)                                                          \
  do {                                                                                          \
    if (auto rt_status_ = (expression); !rt_status_.ok()) return std::move(rt_status_).error(); \
  } while (0)
