// A device that is not the CPU, with one stream, by the device ABI alone: so a real GPU and one
// that is played are the same here.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/sdk/device.h"
#include "tools/conformance/guarded_buffer.h"

namespace rt::conformance {

class Accelerator {
 public:
  // Opens the first device of this kind. NULL where there is none; `why` says so.
  static std::unique_ptr<Accelerator> open(const rt_device& api, std::string* why);
  ~Accelerator();
  Accelerator(const Accelerator&) = delete;
  Accelerator& operator=(const Accelerator&) = delete;

  const rt_exec& exec() const { return exec_; }
  const rt_device_desc& described() const { return desc_; }
  rt_status synchronize() { return api_.synchronize(device_, exec_.stream); }

 private:
  friend class DeviceCopies;
  explicit Accelerator(const rt_device& api) : api_(api) {}
  rt_status start();

  const rt_device& api_;
  void* device_ = nullptr;
  rt_device_desc desc_{};
  rt_exec exec_{};
};

// Copies of guarded buffers in a device's memory, slack and all: each ends where its allocation
// ends, so that what is written beyond is seen when they are fetched (where the device is played it
// is the guard page that sees it, and reads too).
class DeviceCopies {
 public:
  explicit DeviceCopies(Accelerator& device) : device_(device) {}
  ~DeviceCopies();
  DeviceCopies(const DeviceCopies&) = delete;
  DeviceCopies& operator=(const DeviceCopies&) = delete;

  // The address of the copy of buffer's first byte. The buffer outlives this.
  unsigned char* add(const GuardedBuffer& buffer);
  // The same for an array that nothing writes to; NULL for none.
  template <class T>
  const T* add(const std::vector<T>& array) {
    return reinterpret_cast<const T*>(add_bytes(array.data(), array.size() * sizeof(T)));
  }
  // Waits, then brings everything back to where it came from. "" or what went wrong.
  std::string fetch();

 private:
  struct Copy {
    const GuardedBuffer* host;
    void* address;
  };
  const unsigned char* add_bytes(const void* bytes, std::uint64_t count);

  Accelerator& device_;
  std::vector<Copy> copies_;
  std::vector<std::unique_ptr<GuardedBuffer>> arrays_;
};

}  // namespace rt::conformance
