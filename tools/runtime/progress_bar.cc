#include "tools/runtime/progress_bar.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <string>

#include "core/base/bytes.h"
#include "tools/runtime/terminal_mode.h"

namespace rt {
namespace {

// A load that is over within this is not worth a bar; a bar is not read more often than this.
constexpr std::chrono::milliseconds kFirst{400};
constexpr std::chrono::milliseconds kBetween{50};
constexpr std::uint64_t kCells = 30;

}  // namespace

bool progress_wanted(const Settings& settings) {
  return isatty(STDERR_FILENO) == 1 && !dumb_terminal() && !settings.flag("no_progress") &&
         !settings.flag("quiet");
}

ProgressBar::ProgressBar(const Settings& settings)
    : wanted_(progress_wanted(settings)), next_(Clock::now() + kFirst) {}

ProgressBar::~ProgressBar() {
  if (drawn_) std::fputs("\r\x1b[K", stderr);
}

void ProgressBar::show(std::uint64_t done_bytes, std::uint64_t all_bytes) {
  if (!wanted_ || all_bytes == 0 || Clock::now() < next_) return;
  next_ = Clock::now() + kBetween;
  drawn_ = true;
  const double part =
      std::min(1.0, static_cast<double>(done_bytes) / static_cast<double>(all_bytes));
  std::string bar(static_cast<std::size_t>(part * static_cast<double>(kCells)), '#');
  bar.resize(kCells, '.');
  std::fprintf(stderr, "\r\x1b[Kloading [%s] %s / %s", bar.c_str(),
               format_bytes(done_bytes).c_str(), format_bytes(all_bytes).c_str());
}

}  // namespace rt
