// What happens when a mapped weight file is cut short while it is in use: the kernel raises
// SIGBUS at the next read of a lost page. This turns it into one sentence that names file and
// tensor, and exit code 3 (the machine's fault), instead of a core dump.
//
// Reading goes on in kernels that cannot check, so there is no way back from the fault: the
// process ends. MappedFile guards every mapping; nothing else needs to call this.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace rt {

// The tensor in bytes [begin, end) of a guarded range. The name's text is the caller's and must
// live as long as the guard.
struct GuardedTensor {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  std::string_view name;
};

struct FaultGuardSlot;

// Guards [address, address + bytes) while it lives. The first guard of the process installs the
// SIGBUS handler; faults elsewhere go to the handler that was there before. Threads may make and
// drop guards at any time, but must not read a range while its guard is dropped.
class FaultGuard {
 public:
  FaultGuard() = default;
  FaultGuard(const void* address, std::size_t bytes, std::string file);

  // Names the tensors of the range from now on. Replaces an earlier list.
  void name_tensors(std::vector<GuardedTensor> tensors);

 private:
  struct Drop {
    void operator()(FaultGuardSlot* slot) const;
  };
  std::unique_ptr<FaultGuardSlot, Drop> slot_;
};

}  // namespace rt
