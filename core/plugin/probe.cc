#include "core/plugin/probe.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string_view>

#include "core/base/owned_fd.h"
#include "core/base/text.h"

namespace rt {
namespace {

using Clock = std::chrono::steady_clock;

std::atomic<bool> inside_probe{false};

constexpr std::size_t kAnswerLimitBytes = 4096;

// The answer: one byte ('+' or a fault's digit), then the text.
char fault_byte(Fault fault) {
  return fault == Fault::kBadInput ? '2' : fault == Fault::kEnvironment ? '3' : '7';
}

void limit(int resource, rlim_t value) {
  const rlimit both{value, value};
  ::setrlimit(static_cast<__rlimit_resource_t>(resource), &both);  // a stricter limit may stand
}

// Address space in use, in bytes; 0 if it is not known.
std::uint64_t address_space_bytes() {
  std::FILE* file = std::fopen("/proc/self/statm", "re");
  if (file == nullptr) return 0;
  unsigned long long pages = 0;
  if (std::fscanf(file, "%llu", &pages) != 1) pages = 0;
  std::fclose(file);
  return pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

// Signals kill the child as they would without our handlers (a sanitizer's, the fault guard's).
void default_signals() {
  for (const int number : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS, SIGPIPE}) {
    ::signal(number, SIG_DFL);
  }
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

// stdin and stdout of the child lead nowhere, stderr into a file in memory, of whose end the last
// line goes into our one sentence.
void silence(int errors_fd) {
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int fd = 0; fd <= 2 && null >= 0; ++fd) ::dup2(null, fd);
  if (errors_fd >= 0) ::dup2(errors_fd, STDERR_FILENO);
}

// "" or "; the last it said is '...'".
std::string last_words(int errors_fd) {
  struct stat file {};
  if (errors_fd < 0 || ::fstat(errors_fd, &file) != 0) return "";
  char bytes[512];
  const off_t from = std::max<off_t>(0, file.st_size - static_cast<off_t>(sizeof bytes));
  const ssize_t count = ::pread(errors_fd, bytes, sizeof bytes, from);
  std::string_view text(bytes, static_cast<std::size_t>(std::max<ssize_t>(0, count)));
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) {
    text.remove_suffix(1);
  }
  if (const std::size_t line = text.rfind('\n'); line != text.npos) text.remove_prefix(line + 1);
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  return text.empty() ? "" : "; the last it said is " + quote(text);
}

// Above the three that the child gives away, also where the caller has closed them.
OwnedFd above_standard(int fd) {
  OwnedFd given(fd);
  return OwnedFd(fd < 0 ? fd : ::fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
}

[[noreturn]] void run_child(int answer_fd, int errors_fd, pid_t parent,
                            const std::function<Status()>& body, const ProbeLimits& limits) {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(0);
  inside_probe = true;
  default_signals();
  silence(errors_fd);
  limit(RLIMIT_CORE, 0);
  limit(RLIMIT_CPU, static_cast<rlim_t>(limits.time.count() / 1000 + 2));
  if (const std::uint64_t now = address_space_bytes(); now > 0) {
    limit(RLIMIT_AS, now + limits.memory_bytes);
  }
  std::string answer;
  try {
    const Status status = body();
    answer = status.ok() ? "+" : fault_byte(status.error().fault) + status.error().message;
  } catch (...) {
    answer = "7it let an exception out";
  }
  answer.resize(std::min(answer.size(), kAnswerLimitBytes));
  const ssize_t written = ::write(answer_fd, answer.data(), answer.size());
  ::_exit(written == static_cast<ssize_t>(answer.size()) ? 0 : 1);
}

int milliseconds_until(Clock::time_point deadline) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
  return static_cast<int>(std::max<std::int64_t>(0, left.count()));
}

// Reads until the child has answered and closed, or the time is up. False: the time is up.
bool read_answer(int fd, Clock::time_point deadline, std::string* answer) {
  for (;;) {
    pollfd waiting{fd, POLLIN, 0};
    const int ready = ::poll(&waiting, 1, milliseconds_until(deadline));
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return false;
    char bytes[512];
    const ssize_t count = ::read(fd, bytes, sizeof bytes);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return true;
    answer->append(bytes, static_cast<std::size_t>(count));
    if (answer->size() > kAnswerLimitBytes) return true;
  }
}

// Ends the child (and what it may have started), and collects it.
int collect(pid_t child, bool kill_it) {
  if (kill_it && ::kill(-child, SIGKILL) != 0) ::kill(child, SIGKILL);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return 0;  // SIGCHLD is ignored here: nothing to collect
  }
  return status;
}

Status judge(const std::string& what, const std::string& answer, int status,
             const std::string& last_words) {
  if (WIFSIGNALED(status)) {
    const char* name = ::sigabbrev_np(WTERMSIG(status));
    return bad_input(what + ": crashed with SIG" + (name == nullptr ? "?" : name) +
                     " in a trial run" + last_words + "; it is not used");
  }
  if (answer == "+") return {};
  if (answer.empty()) {
    return bad_input(what + ": ended its trial run with exit code " +
                     std::to_string(WEXITSTATUS(status)) + " and no answer" + last_words +
                     "; it is not used");
  }
  const std::string text = answer.substr(1);
  if (answer[0] == '3') return environment(text);
  return answer[0] == '7' ? internal(text) : bad_input(text);
}

}  // namespace

bool in_probe() {
  return inside_probe;
}

Status probe(const std::string& what, const std::function<Status()>& body,
             const ProbeLimits& limits) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) {
    return environment(what + ": cannot make a pipe for a trial run: " + std::strerror(errno));
  }
  OwnedFd reading = above_standard(ends[0]);
  OwnedFd writing = above_standard(ends[1]);
  const OwnedFd errors = above_standard(::memfd_create("trial", MFD_CLOEXEC));
  const Clock::time_point deadline = Clock::now() + limits.time;
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child == 0) {
    reading = OwnedFd();
    run_child(writing.get(), errors.get(), parent, body, limits);
  }
  writing = OwnedFd();
  if (child < 0) {
    return environment(what + ": cannot start a trial run: " + std::strerror(errno));
  }
  std::string answer;
  const bool answered = read_answer(reading.get(), deadline, &answer);
  const int status = collect(child, !answered || !answer.empty());
  if (!answered) {
    return bad_input(what + ": gave no answer within " + std::to_string(limits.time.count()) +
                     " ms in a trial run; it is not used");
  }
  return judge(what, answer, answer.empty() ? status : 0, last_words(errors.get()));
}

}  // namespace rt
