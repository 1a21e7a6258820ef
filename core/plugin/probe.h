// Trial runs: code of a stranger is first run in a child process, with limits on time and memory,
// so that a crash or an endless loop costs one sentence and not the process.
//
// The child is forked, so it sees everything the caller has built; what it changes is lost. Call it
// before threads are started: after fork() only the calling thread goes on, and a lock that another
// one held stays locked (glibc's malloc and loader locks excepted).
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "core/base/result.h"

namespace rt {

// A text that the child writes and the caller reads, also after the child has died: what it is at.
class ProbeNote {
 public:
  static constexpr std::size_t kBytes = 4096;

  ProbeNote();
  ~ProbeNote();
  ProbeNote(const ProbeNote&) = delete;
  ProbeNote& operator=(const ProbeNote&) = delete;

  // Replaces the text, cut at kBytes. Costs no system call.
  void write(std::string_view text);
  std::string text() const;
  // Rises with every write.
  std::uint32_t count() const;

 private:
  struct Page;
  Page* page_;  // of memory that both processes see; NULL where the system gave none
};

struct ProbeLimits {
  std::chrono::milliseconds time{2000};
  std::uint64_t memory_bytes = 1ull << 30;  // address space beyond what the caller has
  // If there is one, `time` is that between two writes of it and not that of the whole run.
  const ProbeNote* note = nullptr;
};

// How a trial run ended.
struct ProbeEnd {
  std::string died;        // "" if it answered; "crashed with SIGSEGV", "gave no answer within ..."
  std::string last_words;  // "" or "; the last it said is '...'", where it died
  Result<std::string> answer;  // an Error too where it died
};

// Runs `body` in a child and brings back what it returns, at most a megabyte of it.
ProbeEnd run_in_child(const std::function<Result<std::string>()>& body, const ProbeLimits& limits);

// Runs `body` in a child. A Status error in the child comes back as it is; a signal, a hang or an
// early exit becomes a bad_input Error that begins with `what` ("planner acme/roomy").
Status probe(const std::string& what, const std::function<Status()>& body,
             const ProbeLimits& limits = {});

// True inside the child of a probe (the log is silent there).
bool in_probe();

}  // namespace rt
