#include "core/base/call_site.h"

#include <signal.h>

#include <atomic>
#include <iterator>

#include "core/base/signal_line.h"

namespace rt {
namespace {

thread_local const CallSite* of_this_thread = nullptr;
std::atomic<const CallSite*> latest{nullptr};

struct Signal {
  int number;
  std::string_view name;
};
constexpr Signal kSignals[] = {{SIGSEGV, "SIGSEGV"},
                               {SIGBUS, "SIGBUS"},
                               {SIGILL, "SIGILL"},
                               {SIGFPE, "SIGFPE"},
                               {SIGABRT, "SIGABRT"}};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

// A stack that has overflowed has no room for the handler.
constexpr std::size_t kStackBytes = 64 << 10;
alignas(16) char handler_stack[kStackBytes];

std::string_view name_of(int number) {
  for (const Signal& signal : kSignals) {
    if (signal.number == number) return signal.name;
  }
  return "a signal";
}

void tell(int number) {
  const CallSite* const mine = of_this_thread;
  const CallSite* const site = mine != nullptr ? mine : latest.load(std::memory_order_relaxed);
  if (site == nullptr) return;
  SignalLine line;
  line.add("runtime: error: ");
  line.add(site->callee);
  if (!site->node.empty()) {
    line.add(", node '");
    line.add(site->node);
    line.add("'");
  }
  line.add(": ");
  line.add(site->function);
  line.add(mine != nullptr ? ": crashed with "
                           : ": the process crashed in it, or beside it, with ");
  line.add(name_of(number));
  line.print();
}

// Once: a second signal, of the handler itself perhaps, ends the process at once.
void handle(int number) {
  for (const Signal& signal : kSignals) ::signal(signal.number, SIG_DFL);
  tell(number);
  ::raise(number);  // a fault would come again by itself, abort() would not
}

}  // namespace

std::string CallSite::text() const {
  std::string text(callee);
  if (!node.empty()) text.append(", node '").append(node).append("'");
  if (!function.empty()) text.append(": ").append(function);
  return text;
}

RunningCall::RunningCall(const CallSite& site) : before_(of_this_thread) {
  of_this_thread = &site;
  latest.store(&site, std::memory_order_relaxed);
}

RunningCall::~RunningCall() {
  of_this_thread = before_;
  latest.store(before_, std::memory_order_relaxed);
}

void report_crashes() {
  if (kSanitized) return;
  const stack_t stack = {handler_stack, 0, kStackBytes};
  ::sigaltstack(&stack, nullptr);
  struct sigaction action {};
  action.sa_handler = handle;
  action.sa_flags = SA_ONSTACK | SA_NODEFER;
  ::sigemptyset(&action.sa_mask);
  for (const Signal& signal : kSignals) ::sigaction(signal.number, &action, nullptr);
}

}  // namespace rt
