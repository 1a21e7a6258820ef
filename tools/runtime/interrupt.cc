#include "tools/runtime/interrupt.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>

namespace rt {
namespace {

std::atomic<bool> answering{false};
std::atomic<bool> idle_ignored{false};
std::atomic<int> presses{0};
static_assert(std::atomic<int>::is_always_lock_free, "used in a signal handler");

void on_interrupt(int) {
  if (answering.load() ? presses.fetch_add(1) == 0 : idle_ignored.load()) return;
  constexpr char kNewline = '\n';
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, &kNewline, 1);
  _exit(kInterruptedExit);
}

}  // namespace

void install_signals() {
  struct sigaction action {};
  sigemptyset(&action.sa_mask);
  action.sa_handler = on_interrupt;
  sigaction(SIGINT, &action, nullptr);
  action.sa_handler = SIG_IGN;
  sigaction(SIGPIPE, &action, nullptr);
  sigaction(SIGXFSZ, &action, nullptr);  // a file past its limit is an error of write() too
}

void ignore_idle_interrupts() {
  idle_ignored = true;
}

AnswerScope::AnswerScope() {
  presses = 0;
  answering = true;
}

AnswerScope::~AnswerScope() {
  answering = false;
}

bool interrupted() {
  return presses.load() > 0;
}

}  // namespace rt
