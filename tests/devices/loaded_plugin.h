// A host in thirty lines, for tests that want a plugin and nothing of core: loads a library, and
// keeps what its functions say on refusal. Not core's loader: the boundary is what is tested.
#pragma once

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "core/sdk/plugin.h"

namespace rt::test {

// What was last given to host->fail on this thread.
inline thread_local std::string refusal;

inline testing::AssertionResult refused_with(const char* text) {
  if (refusal.find(text) != std::string::npos) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "expected '" << text << "' in '" << refusal << "'";
}

inline const rt_host& plain_host() {
  static const rt_host host = {
      .struct_size = sizeof(rt_host),
      .abi_major = RT_ABI_MAJOR,
      .abi_minor = RT_ABI_MINOR,
      .reserved = 0,
      .fail =
          [](const rt_host*, rt_status code, const char* message) {
            refusal = message;
            return code;
          },
      .log = [](const rt_host*, rt_log_level, const char*) {},
      .extension = [](const rt_host*, const char*) -> const void* { return nullptr; },
  };
  return host;
}

// Loaded for good; a test program without its plugin has nothing to say.
inline const rt_plugin& load_plugin(const char* path) {
  void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    std::fprintf(stderr, "%s\n", dlerror());
    std::abort();
  }
  const auto entry = reinterpret_cast<rt_plugin_entry_fn>(dlsym(library, RT_PLUGIN_ENTRY_NAME));
  return *entry(&plain_host(), path);
}

inline const rt_plugin& toy_plugin() {
  static const rt_plugin& plugin = load_plugin(RT_TOY_PLUGIN);
  return plugin;
}

inline const rt_plugin& reference_plugin() {
  static const rt_plugin& plugin = load_plugin(RT_REFERENCE_PLUGIN);
  return plugin;
}

// An opened toy device with one stream. Failures of the wrapped calls fail the test.
class Toy {
 public:
  struct Options {
    std::int64_t memory = 1ll << 30;
    bool slow = false;
  };
  Toy() : Toy(Options{}) {}
  explicit Toy(Options options) {
    memory_.i = options.memory;
    slow_.i = options.slow;
    EXPECT_EQ(api.open(&plain_host(), 0, 2, attrs_, &device), RT_OK) << refusal;
    EXPECT_EQ(api.stream_create(device, &stream), RT_OK) << refusal;
  }
  ~Toy() {
    api.stream_destroy(device, stream);
    api.close(device);
  }
  Toy(const Toy&) = delete;
  Toy& operator=(const Toy&) = delete;

  void* allocate(std::uint64_t bytes) {
    void* address = nullptr;
    EXPECT_EQ(api.allocate(device, bytes, &address), RT_OK) << refusal;
    return address;
  }
  std::byte* reserve(std::uint64_t bytes) {
    void* address = nullptr;
    EXPECT_EQ(api.reserve(device, bytes, &address), RT_OK) << refusal;
    return static_cast<std::byte*>(address);
  }
  rt_status commit(void* address, std::uint64_t bytes) {
    return api.commit(device, address, bytes);
  }
  rt_status decommit(void* address, std::uint64_t bytes) {
    return api.decommit(device, address, bytes);
  }
  rt_status upload(void* to, const void* from, std::uint64_t bytes) {
    return api.upload(device, stream, to, from, bytes);
  }
  rt_status download(void* to, const void* from, std::uint64_t bytes) {
    return api.download(device, stream, to, from, bytes);
  }
  rt_status copy(void* to, const void* from, std::uint64_t bytes) {
    return api.copy(device, stream, to, from, bytes);
  }
  rt_status synchronize() { return api.synchronize(device, stream); }

  rt_device_desc describe() const {
    rt_device_desc desc{};
    desc.struct_size = sizeof desc;
    EXPECT_EQ(api.describe(&plain_host(), 0, 2, attrs_, &desc), RT_OK) << refusal;
    return desc;
  }

  const rt_device& api = *toy_plugin().devices[0];
  void* device = nullptr;
  void* stream = nullptr;

 private:
  rt_attr memory_ = {sizeof(rt_attr), RT_ATTR_INT, "memory", 0, 0, nullptr, nullptr, 0};
  rt_attr slow_ = {sizeof(rt_attr), RT_ATTR_BOOL, "slow", 0, 0, nullptr, nullptr, 0};
  const rt_attr* const attrs_[2] = {&memory_, &slow_};
};

}  // namespace rt::test
