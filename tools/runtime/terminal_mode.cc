#include "tools/runtime/terminal_mode.h"

#include <signal.h>
#include <termios.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <iterator>
#include <string_view>

namespace rt {
namespace {

constexpr std::string_view kPasteBegins = "\x1b[?2004h";
constexpr std::string_view kPasteEnds = "\x1b[?2004l";
constexpr int kEnds[] = {SIGTERM, SIGHUP, SIGQUIT};
constexpr int kCrashes[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};

// Written before `raw_mode` is true, read by handlers while it is.
termios found{};
termios raw{};
struct sigaction before_crash[std::size(kCrashes)];
std::atomic<bool> raw_mode{false};
std::atomic<bool> stopped{false};
static_assert(std::atomic<bool>::is_always_lock_free, "used in a signal handler");

// The terminal of a job in the background is somebody else's, and touching it would stop the job.
bool in_foreground() {
  const pid_t group = tcgetpgrp(STDIN_FILENO);
  return group < 0 || group == getpgrp();  // < 0: not our controlling terminal, no jobs
}

void apply(const termios& mode, std::string_view paste) {
  if (!in_foreground()) return;
  tcsetattr(STDIN_FILENO, TCSANOW, &mode);
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, paste.data(), paste.size());
}

void on_end(int number) {
  leave_raw_mode();
  ::signal(number, SIG_DFL);
  ::raise(number);  // comes when this handler returns
}

// To the handler of report_crashes(), which is not masked here.
void on_crash(int number) {
  leave_raw_mode();
  for (std::size_t i = 0; i < std::size(kCrashes); ++i) {
    if (kCrashes[i] == number) ::sigaction(number, &before_crash[i], nullptr);
  }
  ::raise(number);
}

void on_continue(int) {
  const int error = errno;
  if (raw_mode.load()) apply(raw, kPasteBegins);
  stopped = true;
  errno = error;
}

void handle(int number, void (*handler)(int)) {
  struct sigaction action {};
  ::sigaction(number, nullptr, &action);
  if (action.sa_handler == SIG_IGN) return;
  action = {};
  sigemptyset(&action.sa_mask);
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;  // but for poll(), in which the prompt waits
  ::sigaction(number, &action, nullptr);
}

void on_stop(int) {
  const int error = errno;
  if (raw_mode.load()) apply(found, kPasteEnds);
  ::signal(SIGTSTP, SIG_DFL);
  ::raise(SIGTSTP);
  sigset_t stop;
  sigemptyset(&stop);
  sigaddset(&stop, SIGTSTP);
  pthread_sigmask(SIG_UNBLOCK, &stop, nullptr);  // stops here, until SIGCONT
  pthread_sigmask(SIG_BLOCK, &stop, nullptr);
  handle(SIGTSTP, on_stop);
  on_continue(SIGCONT);  // where nobody could continue it, it was not stopped and there is none
  errno = error;
}

// A sanitizer's own handlers say more than ours would leave to them.
void handle_crashes() {
  struct sigaction action {};
  action.sa_handler = on_crash;
  action.sa_flags = SA_ONSTACK | SA_NODEFER;
  sigemptyset(&action.sa_mask);
  for (std::size_t i = 0; i < std::size(kCrashes); ++i) {
    ::sigaction(kCrashes[i], nullptr, &before_crash[i]);
    if ((before_crash[i].sa_flags & SA_SIGINFO) != 0) continue;
    ::sigaction(kCrashes[i], &action, nullptr);
  }
}

bool install_handlers() {
  for (const int number : kEnds) handle(number, on_end);
  handle(SIGTSTP, on_stop);
  handle(SIGCONT, on_continue);
  handle_crashes();
  return true;
}

}  // namespace

void enter_raw_mode() {
  if (tcgetattr(STDIN_FILENO, &found) != 0) return;
  raw = found;
  raw.c_iflag &= ~static_cast<tcflag_t>(BRKINT | ICRNL | INPCK | ISTRIP | IXON);
  raw.c_lflag &= ~static_cast<tcflag_t>(ECHO | ICANON | IEXTEN | ISIG);
  raw.c_cc[VMIN] = 1;
  raw.c_cc[VTIME] = 0;
  [[maybe_unused]] static const bool installed = install_handlers();
  raw_mode = true;
  apply(raw, kPasteBegins);
}

// A handler that comes between finds the mode still on and restores once more.
void leave_raw_mode() {
  if (!raw_mode.load()) return;
  apply(found, kPasteEnds);
  raw_mode = false;
}

void stop_process() {
  ::kill(0, SIGTSTP);
}

bool take_stop() {
  return stopped.exchange(false);
}

bool dumb_terminal() {
  const char* term = std::getenv("TERM");
  return term == nullptr || *term == '\0' || std::string_view(term) == "dumb";
}

}  // namespace rt
