#include "core/memory/fault_guard.h"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>

#include "core/base/assert.h"
#include "core/base/result.h"
#include "core/base/signal_line.h"

namespace rt {

// One guarded range. Slots form a list that only grows, so that the handler can walk it at any
// moment without a lock; a dropped slot is empty (begin == end) and is used again.
struct FaultGuardSlot {
  std::atomic<std::uintptr_t> begin{0};
  std::atomic<std::uintptr_t> end{0};
  std::atomic<const std::vector<GuardedTensor>*> tensors{nullptr};
  std::string file;  // constant while begin != end
  std::uint64_t bytes = 0;
  FaultGuardSlot* next = nullptr;  // constant
  bool free = false;               // under slots_mutex
};

namespace {

std::atomic<FaultGuardSlot*> slots{nullptr};
std::mutex slots_mutex;
struct sigaction previous_action;  // written once, before the handler can run

const GuardedTensor* tensor_at(const FaultGuardSlot& slot, std::uint64_t offset) {
  const std::vector<GuardedTensor>* tensors = slot.tensors.load(std::memory_order_acquire);
  if (tensors == nullptr) return nullptr;
  // By position and without overlap: the last one that begins at or before the offset.
  const auto after =
      std::upper_bound(tensors->begin(), tensors->end(), offset,
                       [](std::uint64_t at, const GuardedTensor& t) { return at < t.begin; });
  if (after == tensors->begin()) return nullptr;
  const GuardedTensor& tensor = *(after - 1);
  return offset < tensor.end ? &tensor : nullptr;
}

// Async-signal-safe throughout: atomics, stat, write, _exit.
[[noreturn]] void report_and_exit(const FaultGuardSlot& slot, std::uint64_t offset) {
  SignalLine line;  // names come from files
  line.add("runtime: ");
  line.add(slot.file);
  line.add(": ");
  if (const GuardedTensor* tensor = tensor_at(slot, offset)) {
    line.add("tensor '");
    line.add(tensor->name.substr(0, 200));
    line.add("': ");
  }
  struct stat now {};
  const bool known = ::stat(slot.file.c_str(), &now) == 0;
  const auto size = static_cast<std::uint64_t>(now.st_size);
  if (known && size >= slot.bytes) {
    line.add("the machine could not read the file at byte ");
    line.add(offset);
    line.add("; check its disk, or whether it was rewritten while it was in use");
  } else {
    line.add("the file was cut short while it was in use (expected ");
    line.add(slot.bytes);
    line.add(" bytes");
    if (known) {
      line.add(", found ");
      line.add(size);
    }
    line.add("); replace weight files by renaming a new one over them, and start again");
  }
  line.print();
  ::_exit(static_cast<int>(Fault::kEnvironment));
}

// The fault is not ours: what would have happened without this handler.
void pass_on(int signal, siginfo_t* info, void* context) {
  if (previous_action.sa_flags & SA_SIGINFO) {
    previous_action.sa_sigaction(signal, info, context);
    return;
  }
  const bool raised_by_kill = info->si_code <= 0;
  if (previous_action.sa_handler == SIG_IGN && raised_by_kill) return;
  if (previous_action.sa_handler != SIG_DFL && previous_action.sa_handler != SIG_IGN) {
    previous_action.sa_handler(signal);
    return;
  }
  // The default is the process's death. A fault comes again when this returns; kill(2) does not.
  struct sigaction standard {};
  standard.sa_handler = SIG_DFL;
  ::sigaction(signal, &standard, nullptr);
  if (raised_by_kill) ::raise(signal);
}

void handle_bus_error(int signal, siginfo_t* info, void* context) {
  const auto address = reinterpret_cast<std::uintptr_t>(info->si_addr);
  if (info->si_code > 0) {
    for (const FaultGuardSlot* slot = slots.load(std::memory_order_acquire); slot != nullptr;
         slot = slot->next) {
      const std::uintptr_t begin = slot->begin.load(std::memory_order_acquire);
      if (address < begin || address >= slot->end.load(std::memory_order_acquire)) continue;
      report_and_exit(*slot, address - begin);
    }
  }
  pass_on(signal, info, context);
}

void install_handler() {
  static std::once_flag once;
  std::call_once(once, [] {
    ::sigaction(SIGBUS, nullptr, &previous_action);
    struct sigaction action {};
    action.sa_sigaction = handle_bus_error;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    ::sigemptyset(&action.sa_mask);
    RT_ASSERT_EQ(::sigaction(SIGBUS, &action, nullptr), 0);
  });
}

FaultGuardSlot* take_slot() {
  const std::lock_guard lock(slots_mutex);
  for (FaultGuardSlot* slot = slots.load(std::memory_order_relaxed); slot; slot = slot->next) {
    if (!slot->free) continue;
    slot->free = false;
    return slot;
  }
  auto* slot = new FaultGuardSlot;  // never freed: the handler may be walking the list
  slot->next = slots.load(std::memory_order_relaxed);
  slots.store(slot, std::memory_order_release);
  return slot;
}

}  // namespace

FaultGuard::FaultGuard(const void* address, std::size_t bytes, std::string file) {
  install_handler();
  FaultGuardSlot* slot = take_slot();
  slot->file = std::move(file);
  slot->bytes = bytes;
  const auto begin = reinterpret_cast<std::uintptr_t>(address);
  // Up to the file's end: nothing reads the rest of the mapping's last page.
  slot->begin.store(begin, std::memory_order_release);
  slot->end.store(begin + bytes, std::memory_order_release);
  slot_.reset(slot);
}

void FaultGuard::name_tensors(std::vector<GuardedTensor> tensors) {
  RT_ASSERT(slot_ != nullptr);
  const auto* list = new std::vector<GuardedTensor>(std::move(tensors));
  delete slot_->tensors.exchange(list, std::memory_order_acq_rel);
}

void FaultGuard::Drop::operator()(FaultGuardSlot* slot) const {
  slot->end.store(0, std::memory_order_release);
  slot->begin.store(0, std::memory_order_release);
  delete slot->tensors.exchange(nullptr, std::memory_order_acq_rel);
  const std::lock_guard lock(slots_mutex);
  slot->free = true;
}

}  // namespace rt
