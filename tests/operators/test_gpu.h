// A GPU through its device plugin, with one stream: the machine's own, or the emulated one of
// tests/cuda_emulation. What is here works on either, by the device ABI alone.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/sdk/device.h"
#include "tests/operators/guarded_buffer.h"
#include "tests/operators/plugin_file.h"

namespace rt::test {

class TestGpu {
 public:
  // Of `file`'s kind, opened at the first use, for good. NULL where there is none; `why` says so.
  static TestGpu* of(const PluginFile& file, std::string* why);

  const rt_exec& exec() const { return exec_; }
  const rt_device_desc& described() const { return desc_; }
  rt_status synchronize() { return api_->synchronize(device_, exec_.stream); }

 private:
  friend class DeviceCopies;
  TestGpu(const rt_device* api, std::string* why);

  const rt_device* api_;
  void* device_ = nullptr;
  rt_device_desc desc_{};
  rt_exec exec_{};
};

// Copies of guarded buffers in a GPU's memory, slack and all: each ends where its allocation ends,
// so that what is written beyond is seen when they are fetched (on the emulated GPU it is the guard
// page that sees it, and reads too).
class DeviceCopies {
 public:
  explicit DeviceCopies(TestGpu& gpu) : gpu_(gpu) {}
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

  TestGpu& gpu_;
  std::vector<Copy> copies_;
  std::vector<std::unique_ptr<GuardedBuffer>> arrays_;
};

}  // namespace rt::test
