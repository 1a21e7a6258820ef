// A line for stderr put together without malloc or stdio, which a signal handler must not call.
#pragma once

#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/base/text.h"

namespace rt {

class SignalLine {
 public:
  void add(std::string_view text) {
    for (const char c : text) {
      if (size_ == sizeof text_) return;
      text_[size_++] = printable(c);
    }
  }
  void add(std::uint64_t number) {
    char digits[20];
    std::size_t at = sizeof digits;
    do {
      digits[--at] = static_cast<char>('0' + number % 10);
      number /= 10;
    } while (number != 0);
    add(std::string_view(digits + at, sizeof digits - at));
  }
  void print() {
    if (size_ == sizeof text_) --size_;
    text_[size_++] = '\n';
    std::size_t done = 0;
    while (done < size_) {
      const ssize_t count = ::write(STDERR_FILENO, text_ + done, size_ - done);
      if (count <= 0) return;
      done += static_cast<std::size_t>(count);
    }
  }

 private:
  char text_[4096];
  std::size_t size_ = 0;
};

}  // namespace rt
