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

#include "core/base/result.h"

namespace rt {

struct ProbeLimits {
  std::chrono::milliseconds time{2000};
  std::uint64_t memory_bytes = 1ull << 30;  // address space beyond what the caller has
};

// Runs `body` in a child. A Status error in the child comes back as it is; a signal, a hang or an
// early exit becomes a bad_input Error that begins with `what` ("planner acme/roomy").
Status probe(const std::string& what, const std::function<Status()>& body,
             const ProbeLimits& limits = {});

// True inside the child of a probe (the log is silent there).
bool in_probe();

}  // namespace rt
