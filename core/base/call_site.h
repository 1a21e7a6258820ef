// Which function of a plugin is being called: for the text of a refusal, and for the one sentence
// that a crash in it leaves.
#pragma once

#include <string>
#include <string_view>

namespace rt {

struct CallSite {
  std::string_view callee;    // "rms_norm_cpu/avx2", "planner acme/roomy"
  std::string_view function;  // "execute"
  std::string_view node;      // "" where there is none

  // "acme/flash, node 'layer.3.attention': execute".
  std::string text() const;
};

// Notes the call while it lives, on the thread that makes it; costs a few stores. The site's texts
// must live as long. Calls may lie within each other.
class RunningCall {
 public:
  explicit RunningCall(const CallSite& site);
  ~RunningCall();
  RunningCall(const RunningCall&) = delete;
  RunningCall& operator=(const RunningCall&) = delete;

 private:
  const CallSite* before_;
};

// From now on a signal that ends the process (SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT) while a
// plugin runs is told on stderr with the plugin's name, then does what it would have done: core
// dumps and exit statuses stay as they are. Threads that a plugin runs on but did not call it from
// (the CPU device's) are told with the latest call of the process. Not in builds with a sanitizer,
// which tells more. Call once, before threads are started.
void report_crashes();

}  // namespace rt
