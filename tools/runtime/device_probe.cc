#include "tools/runtime/device_probe.h"

#include <algorithm>
#include <chrono>

namespace rt {
namespace {

constexpr int kCopies = 8;  // of 256 MiB at 4 TB/s: a millisecond, far above the cost of a call

// An opened device with two halves of `bytes`; every member may be missing.
struct Scene {
  Scene(const Device& device, std::uint32_t index, std::uint64_t its_bytes)
      : api(*device.c), bytes(its_bytes) {
    ready = api.open(device.host, index, 0, nullptr, &opened) == RT_OK &&
            api.stream_create(opened, &stream) == RT_OK &&
            api.allocate(opened, bytes, &from) == RT_OK &&
            api.allocate(opened, bytes, &to) == RT_OK;
  }
  ~Scene() {
    if (to != nullptr) api.release(opened, to, bytes);
    if (from != nullptr) api.release(opened, from, bytes);
    if (stream != nullptr) api.stream_destroy(opened, stream);
    if (opened != nullptr) api.close(opened);
  }
  Scene(const Scene&) = delete;
  Scene& operator=(const Scene&) = delete;

  bool copy(int times) {
    bool good = true;
    for (int i = 0; i < times; ++i)
      good = good && api.copy(opened, stream, to, from, bytes) == RT_OK;
    return good && api.synchronize(opened, stream) == RT_OK;
  }

  const rt_device& api;
  std::uint64_t bytes;
  void* opened = nullptr;
  void* stream = nullptr;
  void* from = nullptr;
  void* to = nullptr;
  bool ready = false;
};

}  // namespace

double device_copy_rate(const Blueprint& blueprint, std::uint64_t bytes) {
  using Clock = std::chrono::steady_clock;
  Scene scene(blueprint.device, blueprint.desc.index, std::max<std::uint64_t>(bytes / 4, 4096));
  if (!scene.ready || !scene.copy(1)) return 0;  // the first touches the memory
  const Clock::time_point begin = Clock::now();
  if (!scene.copy(kCopies)) return 0;
  const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  return 2.0 * kCopies * static_cast<double>(scene.bytes) / seconds;
}

}  // namespace rt
