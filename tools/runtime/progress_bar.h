// "loading  1.2 / 7.1 GiB [#####.....]" on stderr while weights are read, on a terminal only and
// only where it takes long enough to be read. Erased when done.
#pragma once

#include <chrono>
#include <cstdint>

#include "tools/runtime/settings.h"

namespace rt {

// There is a terminal on stderr that can be drawn on, and nobody has said no.
bool progress_wanted(const Settings& settings);

class ProgressBar {
 public:
  explicit ProgressBar(const Settings& settings);
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  void show(std::uint64_t done_bytes, std::uint64_t all_bytes);

 private:
  using Clock = std::chrono::steady_clock;
  bool wanted_;
  bool drawn_ = false;
  Clock::time_point next_;  // not earlier than this
};

}  // namespace rt
