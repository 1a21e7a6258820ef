// Runs the threads of a block as fibers on one thread of the host: each until its next barrier, in
// every second block from the last thread to the first, so that a result which wants a barrier that
// is not there differs. What a GPU leaves to chance is checked instead: a barrier or a shuffle that
// not all threads reach ends the program with a sentence, since on a GPU it hangs or is undefined.
//
// Under the thread sanitizer the fibers are threads to it, with nothing between them but barriers:
// what two threads of a block touch in the same stretch, one of them writing, is reported as a
// race. Blocks are ordered, since each has the same shared memory. Shuffles order nothing, as on a
// GPU.
//
// Dynamic shared memory is filled with 0xff (NaN) before each block and ends at a page that cannot
// be touched; global addresses are the host's own. A kernel that leaves its memory dies at that
// instruction, or is told so by AddressSanitizer, which knows these fibers.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "tests/cuda_emulation/include/cuda_runtime.h"

#include "tests/cuda_emulation/block.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef RT_RACE_CHECK
#include <sanitizer/tsan_interface.h>
#endif
#ifndef __x86_64__
#include <ucontext.h>
#endif

namespace cuda_emulation {
namespace {

// 17 lines more than a power of two, or the tops of all stacks, which every switch touches, would
// share a few sets of the caches.
constexpr std::size_t kStackBytes = (64 << 10) + 17 * 64;
constexpr unsigned kMostThreads = 1024;
constexpr std::size_t kMostSharedBytes = 227 << 10;  // of a block on sm_90

[[noreturn]] void die(const char* what) {
  std::fprintf(stderr, "cuda emulation: %s\n", what);
  std::abort();
}

// What the thread sanitizer is told; this file itself it does not see (CMakeLists.txt).
namespace race {
#ifdef RT_RACE_CHECK
void* create_fiber() {
  return __tsan_create_fiber(0);
}
void* this_fiber() {
  return __tsan_get_current_fiber();
}
void switch_to(void* fiber) {
  __tsan_switch_to_fiber(fiber, __tsan_switch_to_fiber_no_sync);
}
// What is done before release(x) happens before what follows acquire(x).
void release(void* x) {
  __tsan_release(x);
}
void acquire(void* x) {
  __tsan_acquire(x);
}
#else
void* create_fiber() {
  return nullptr;
}
void* this_fiber() {
  return nullptr;
}
void switch_to(void*) {}
void release(void*) {}
void acquire(void*) {}
#endif
}  // namespace race

// What threads wait for: the next time that all of them have come.
struct Barrier {
  unsigned expected = 0;
  unsigned arrived = 0;
  std::uint64_t generation = 0;
  // Of this time and of the next, at which a fast thread may be before a slow one has left this
  // one.
  char order[2] = {};
};

// A place in a program: registers on a stack of their own.
struct Context {
  void* race_fiber = nullptr;
#ifdef __x86_64__
  void* stack_pointer = nullptr;
#else
  ucontext_t context;
#endif
};

}  // namespace

#ifdef __x86_64__
// Keeps the registers that a call must keep on the old stack, and takes them from the new one. As
// fast as a call; swapcontext asks the system twice for its signal mask.
extern "C" void cuda_emulation_switch(void** from, void* to);
asm(R"(
.text
.globl cuda_emulation_switch
.hidden cuda_emulation_switch
.type cuda_emulation_switch, @function
cuda_emulation_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size cuda_emulation_switch, .-cuda_emulation_switch
)");
#endif

namespace {

struct Fiber {
  Context context;
  std::unique_ptr<unsigned char[]> stack;
  Indices where;
  unsigned lane = 0;
  unsigned warp = 0;
  unsigned exchanges = 0;
  const Barrier* waits_for = nullptr;
  std::uint64_t generation = 0;  // of the barrier when it began to wait
  bool done = false;
  bool after_previous = false;  // it has made the call
  AsyncCopies copies;
};

struct Warp {
  Barrier barrier;
  // Two sets of slots: who has read the first may fill the second while others still read.
  alignas(16) unsigned char slots[2][32 * kSlotBytes];
};

// Dynamic shared memory that ends at a guard page.
struct SharedMemory {
  SharedMemory() {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    const std::size_t room = (kMostSharedBytes + page - 1) / page * page;
    void* base =
        mmap(nullptr, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) die("no memory for shared memory");
    end = static_cast<unsigned char*>(base) + room;
    mprotect(end, page, PROT_NONE);
  }
  unsigned char* end;
};

struct Machine {
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::vector<std::unique_ptr<Warp>> warps;
  SharedMemory shared;
  Barrier block;
  Context scheduler;
  Fiber* current = nullptr;
  const std::function<void()>* body = nullptr;
  std::size_t shared_bytes = 0;
  bool starts_early = false;
  std::uint64_t blocks = 0;   // so far
  char begun = 0, ended = 0;  // for race
};

// One for the process, as is the driver in runtime.cc; never destroyed.
Machine* the_machine = nullptr;

Machine& machine() {
  return *the_machine;
}

void switch_to(Context& from, Context& to, [[maybe_unused]] const void* stack,
               [[maybe_unused]] std::size_t bytes, [[maybe_unused]] bool ends) {
#ifdef __SANITIZE_ADDRESS__
  void* fake = nullptr;
  __sanitizer_start_switch_fiber(ends ? nullptr : &fake, stack, bytes);
#endif
  race::switch_to(to.race_fiber);
#ifdef __x86_64__
  cuda_emulation_switch(&from.stack_pointer, to.stack_pointer);
#else
  swapcontext(&from.context, &to.context);
#endif
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#endif
}

#ifdef __SANITIZE_ADDRESS__
const void* scheduler_stack = nullptr;
std::size_t scheduler_bytes = 0;
#endif

void to_scheduler(bool ends) {
  Machine& m = machine();
#ifdef __SANITIZE_ADDRESS__
  switch_to(m.current->context, m.scheduler, scheduler_stack, scheduler_bytes, ends);
#else
  switch_to(m.current->context, m.scheduler, nullptr, 0, ends);
#endif
}

void fiber_main() {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(nullptr, &scheduler_stack, &scheduler_bytes);
#endif
  Machine& m = machine();
  race::acquire(&m.begun);
  (*m.body)();
  race::release(&m.ended);
  if (m.starts_early && !m.current->after_previous) {
    die("a kernel that may start early, a thread of which ends without after_previous()");
  }
  m.current->done = true;
  to_scheduler(true);
  die("a thread that has ended runs again");
}

void prepare(Fiber& fiber) {
  if (fiber.stack == nullptr) {
    fiber.stack.reset(new unsigned char[kStackBytes]);
    fiber.context.race_fiber = race::create_fiber();
  }
#ifdef __SANITIZE_ADDRESS__
  // The frames of a fiber that ended never returned: what they forbid around them stands.
  __asan_unpoison_memory_region(fiber.stack.get(), kStackBytes);
#endif
#ifdef __x86_64__
  const auto top =
      reinterpret_cast<std::uintptr_t>(fiber.stack.get() + kStackBytes) & ~std::uintptr_t{15};
  void** sp = reinterpret_cast<void**>(top);
  *--sp = nullptr;  // where fiber_main would return to
  *--sp = reinterpret_cast<void*>(&fiber_main);
  for (int i = 0; i < 6; ++i) *--sp = nullptr;
  fiber.context.stack_pointer = sp;
#else
  getcontext(&fiber.context.context);
  fiber.context.context.uc_stack.ss_sp = fiber.stack.get();
  fiber.context.context.uc_stack.ss_size = kStackBytes;
  fiber.context.context.uc_link = nullptr;
  makecontext(&fiber.context.context, fiber_main, 0);
#endif
  fiber.waits_for = nullptr;
  fiber.exchanges = 0;
  fiber.done = false;
  fiber.after_previous = false;
  fiber.copies.forget();
}

void wait_at(Barrier& barrier) {
  Fiber& self = *machine().current;
  if (++barrier.arrived == barrier.expected) {
    barrier.arrived = 0;
    ++barrier.generation;
    return;
  }
  self.waits_for = &barrier;
  self.generation = barrier.generation;
  to_scheduler(false);
}

// The same, with memory in order before and behind.
void synchronize_at(Barrier& barrier) {
  void* const order = &barrier.order[barrier.generation % 2];
  race::release(order);
  wait_at(barrier);
  race::acquire(order);
}

void run_fibers(Machine& m, unsigned count) {
  const bool backwards = m.blocks++ % 2 != 0;
  unsigned finished = 0;
  while (finished < count) {
    bool moved = false;
    for (unsigned i = 0; i < count; ++i) {
      Fiber& fiber = *m.fibers[backwards ? count - 1 - i : i];
      if (fiber.done) continue;
      if (fiber.waits_for != nullptr && fiber.waits_for->generation == fiber.generation) continue;
      fiber.waits_for = nullptr;
      m.current = &fiber;
      switch_to(m.scheduler, fiber.context, fiber.stack.get(), kStackBytes, false);
      finished += fiber.done ? 1 : 0;
      moved = true;
    }
    if (!moved) die("a barrier or shuffle that some threads of the block never reach");
  }
}

}  // namespace

void run_block(const cudaLaunchConfig_t& config, uint3 block_index,
               const std::function<void()>& body) {
  if (the_machine == nullptr) the_machine = new Machine();
  Machine& m = machine();
  const unsigned threads = config.blockDim.x;
  if (threads == 0 || threads > kMostThreads || threads % 32 != 0) {
    die("expected whole warps, at most 1024 threads in a block");
  }
  while (m.fibers.size() < threads) m.fibers.push_back(std::make_unique<Fiber>());
  while (m.warps.size() < threads / 32) m.warps.push_back(std::make_unique<Warp>());
  m.block = {threads, 0, 0};
  for (unsigned w = 0; w < threads / 32; ++w) m.warps[w]->barrier = {32, 0, 0};
  m.body = &body;
  m.starts_early = config.numAttrs > 0;
  m.shared_bytes = (config.dynamicSmemBytes + 15) / 16 * 16;
  std::memset(m.shared.end - m.shared_bytes, 0xff, m.shared_bytes);
  for (unsigned i = 0; i < threads; ++i) {
    Fiber& fiber = *m.fibers[i];
    prepare(fiber);
    fiber.where = {{i, 0, 0}, block_index, config.gridDim};
    fiber.lane = i % 32;
    fiber.warp = i / 32;
  }
  m.scheduler.race_fiber = race::this_fiber();
  race::release(&m.begun);
  run_fibers(m, threads);
  race::acquire(&m.ended);
}

bool fits(const cudaLaunchConfig_t& config) {
  const dim3& grid = config.gridDim;
  return grid.x > 0 && grid.y > 0 && grid.z > 0 && grid.y < 65536 && grid.z < 65536 &&
         config.blockDim.y == 1 && config.blockDim.z == 1 && config.blockDim.x <= kMostThreads &&
         config.dynamicSmemBytes <= kMostSharedBytes;
}

const Indices& indices() {
  return machine().current->where;
}
unsigned lane() {
  return machine().current->lane;
}
AsyncCopies& async_copies() {
  return machine().current->copies;
}
void after_previous() {
  if (machine().current->after_previous) die("a thread that calls after_previous() twice");
  machine().current->after_previous = true;
}
void block_barrier() {
  synchronize_at(machine().block);
}
void warp_barrier() {
  synchronize_at(machine().warps[machine().current->warp]->barrier);
}
void* dynamic_shared() {
  return machine().shared.end - machine().shared_bytes;
}

const unsigned char* exchange(const void* value, std::size_t bytes) {
  Fiber& self = *machine().current;
  Warp& warp = *machine().warps[self.warp];
  unsigned char* slots = warp.slots[self.exchanges++ % 2];
  std::memcpy(slots + self.lane * kSlotBytes, value, bytes);
  wait_at(warp.barrier);
  return slots;
}
#ifdef RT_RACE_CHECK
void take(void* to, const unsigned char* slot, std::size_t bytes) {
  // The sanitizer sees calls of memcpy even from here.
  for (std::size_t i = 0; i < bytes; ++i) {
    static_cast<unsigned char*>(to)[i] = static_cast<const volatile unsigned char*>(slot)[i];
  }
}
#endif

}  // namespace cuda_emulation
