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
#include <new>
#include <string_view>

#include "core/base/owned_fd.h"
#include "core/base/text.h"

namespace rt {
namespace {

using Clock = std::chrono::steady_clock;

std::atomic<bool> inside_probe{false};

constexpr std::size_t kErrorLimitBytes = 4096;
constexpr std::size_t kAnswerLimitBytes = 1 << 20;

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

// False where the caller has gone.
bool write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::write(fd, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(count));
  }
  return true;
}

[[noreturn]] void run_child(int answer_fd, int errors_fd, pid_t parent,
                            const std::function<Result<std::string>()>& body,
                            const ProbeLimits& limits) {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(0);
  inside_probe = true;
  default_signals();
  silence(errors_fd);
  limit(RLIMIT_CORE, 0);
  // Where it may go on for as long as it writes notes, the caller's clock alone tells.
  if (limits.note == nullptr) {
    limit(RLIMIT_CPU, static_cast<rlim_t>(limits.time.count() / 1000 + 2));
  }
  if (const std::uint64_t now = address_space_bytes(); now > 0) {
    limit(RLIMIT_AS, now + limits.memory_bytes);
  }
  std::string answer;
  try {
    const Result<std::string> said = body();
    answer = said.ok() ? "+" + *said : fault_byte(said.error().fault) + said.error().message;
  } catch (...) {
    answer = "7it let an exception out";
  }
  answer.resize(std::min(answer.size(), answer[0] == '+' ? kAnswerLimitBytes : kErrorLimitBytes));
  ::_exit(write_all(answer_fd, answer) ? 0 : 1);
}

int milliseconds_until(Clock::time_point deadline) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
  return static_cast<int>(std::max<std::int64_t>(0, left.count()));
}

// When the child has been given up: `time` after the start, or after its last note.
class Deadline {
 public:
  explicit Deadline(const ProbeLimits& limits) : limits_(limits) { begin(); }

  int left_ms() const { return milliseconds_until(end_); }
  // False if the time is up and nothing has been noted since it began.
  bool begin_again() {
    if (limits_.note == nullptr || limits_.note->count() == seen_) return false;
    begin();
    return true;
  }

 private:
  void begin() {
    seen_ = limits_.note == nullptr ? 0 : limits_.note->count();
    end_ = Clock::now() + limits_.time;
  }

  const ProbeLimits& limits_;
  std::uint32_t seen_ = 0;
  Clock::time_point end_;
};

// Reads until the child has answered and closed, or the time is up. False: the time is up.
bool read_answer(int fd, Deadline deadline, std::string* answer) {
  for (;;) {
    pollfd waiting{fd, POLLIN, 0};
    const int ready = ::poll(&waiting, 1, deadline.left_ms());
    if (ready < 0 && errno == EINTR) continue;
    if (ready == 0 && deadline.begin_again()) continue;
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

ProbeEnd dead(std::string how) {
  return {how, "", bad_input(how)};
}

ProbeEnd judge(const std::string& answer, int status) {
  if (WIFSIGNALED(status)) {
    const char* name = ::sigabbrev_np(WTERMSIG(status));
    return dead(std::string("crashed with SIG") + (name == nullptr ? "?" : name));
  }
  if (answer.empty()) {
    return dead("ended with exit code " + std::to_string(WEXITSTATUS(status)) + " and no answer");
  }
  const std::string text = answer.substr(1);
  if (answer[0] == '+') return {"", "", text};
  if (answer[0] == '3') return {"", "", environment(text)};
  return {"", "", answer[0] == '7' ? internal(text) : bad_input(text)};
}

ProbeEnd not_started(const char* what) {
  const std::string why =
      std::string("cannot ") + what + " for a trial run: " + std::strerror(errno);
  return {"", "", environment(why)};
}

}  // namespace

struct ProbeNote::Page {
  std::atomic<std::uint32_t> count;
  std::atomic<std::uint32_t> length;
  char bytes[kBytes];
};

ProbeNote::ProbeNote() {
  void* memory =
      ::mmap(nullptr, sizeof(Page), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  page_ = memory == MAP_FAILED ? nullptr : new (memory) Page;
}

ProbeNote::~ProbeNote() {
  if (page_ != nullptr) ::munmap(page_, sizeof(Page));
}

void ProbeNote::write(std::string_view text) {
  if (page_ == nullptr) return;
  const std::size_t length = std::min(text.size(), kBytes);
  std::memcpy(page_->bytes, text.data(), length);
  page_->length = static_cast<std::uint32_t>(length);
  ++page_->count;
}

// The child is a stranger's: its length is not believed.
std::string ProbeNote::text() const {
  if (page_ == nullptr) return "";
  return {page_->bytes, std::min<std::size_t>(page_->length, kBytes)};
}

std::uint32_t ProbeNote::count() const {
  return page_ == nullptr ? 0 : page_->count.load();
}

bool in_probe() {
  return inside_probe;
}

ProbeEnd run_in_child(const std::function<Result<std::string>()>& body, const ProbeLimits& limits) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return not_started("make a pipe");
  OwnedFd reading = above_standard(ends[0]);
  OwnedFd writing = above_standard(ends[1]);
  const OwnedFd errors = above_standard(::memfd_create("trial", MFD_CLOEXEC));
  const Deadline deadline(limits);
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child == 0) {
    reading = OwnedFd();
    run_child(writing.get(), errors.get(), parent, body, limits);
  }
  writing = OwnedFd();
  if (child < 0) {
    return not_started("start a process");
  }
  std::string answer;
  const bool answered = read_answer(reading.get(), deadline, &answer);
  const int status = collect(child, !answered || !answer.empty());
  if (!answered) {
    return dead("gave no answer within " + std::to_string(limits.time.count()) + " ms");
  }
  ProbeEnd end = judge(answer, answer.empty() ? status : 0);
  if (!end.died.empty()) end.last_words = last_words(errors.get());
  return end;
}

Status probe(const std::string& what, const std::function<Status()>& body,
             const ProbeLimits& limits) {
  const auto without_text = [&]() -> Result<std::string> {
    RT_RETURN_IF_ERROR(body());
    return std::string();
  };
  ProbeEnd end = run_in_child(without_text, limits);
  if (!end.died.empty()) {
    return bad_input(what + ": " + end.died + " in a trial run" + end.last_words +
                     "; it is not used");
  }
  if (end.answer.ok()) return {};
  return std::move(end.answer).error();
}

}  // namespace rt
