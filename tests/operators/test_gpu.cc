#include "tests/operators/test_gpu.h"

#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace rt::test {
namespace {

const rt_device* find_api(bool emulated) {
  for (const PluginFile& file : plugin_files()) {
    if (file.emulated != emulated || file.plugin == nullptr) continue;
    for (std::uint32_t i = 0; i < file.plugin->device_count; ++i) {
      if (std::string_view(file.plugin->devices[i]->kind) == "cuda") return file.plugin->devices[i];
    }
  }
  return nullptr;
}

}  // namespace

TestGpu* TestGpu::of(const PluginFile& file, std::string* why) {
  struct Opened {
    explicit Opened(bool emulated) : gpu(find_api(emulated), &why) {}
    std::string why;
    TestGpu gpu;
  };
  static Opened real(false);
  static Opened emulated(true);
  Opened& opened = file.emulated ? emulated : real;
  *why = opened.why;
  return opened.why.empty() ? &opened.gpu : nullptr;
}

TestGpu::TestGpu(const rt_device* api, std::string* why) : api_(api) {
  std::uint32_t count = 0;
  void* stream = nullptr;
  desc_.struct_size = sizeof desc_;
  if (api == nullptr) {
    *why = "no device plugin of kind cuda among the plugins";
  } else if (api->count(test_host(), &count) != RT_OK ||
             api->describe(test_host(), 0, 0, nullptr, &desc_) != RT_OK ||
             api->open(test_host(), 0, 0, nullptr, &device_) != RT_OK ||
             api->stream_create(device_, &stream) != RT_OK) {
    *why = last_failure();
  }
  exec_ = {sizeof(rt_exec), 0, device_, stream, nullptr};
}

DeviceCopies::~DeviceCopies() {
  (void)gpu_.synchronize();  // uploads read the arrays, kernels the copies
  for (const Copy& copy : copies_) {
    gpu_.api_->release(gpu_.device_, copy.address, copy.host->mapping_bytes());
  }
}

// A test that cannot have its memory has nothing to say.
unsigned char* DeviceCopies::add(const GuardedBuffer& buffer) {
  const std::uint64_t bytes = buffer.mapping_bytes();
  if (bytes == 0) return nullptr;  // a buffer of nothing
  void* address = nullptr;
  if (gpu_.api_->allocate(gpu_.device_, bytes, &address) != RT_OK ||
      gpu_.api_->upload(gpu_.device_, gpu_.exec_.stream, address, buffer.mapping(), bytes) !=
          RT_OK) {
    std::fprintf(stderr, "the GPU's memory: %s\n", last_failure().c_str());
    std::abort();
  }
  copies_.push_back({&buffer, address});
  return static_cast<unsigned char*>(address) + (buffer.data() - buffer.mapping());
}

const unsigned char* DeviceCopies::add_bytes(const void* bytes, std::uint64_t count) {
  if (count == 0) return nullptr;
  arrays_.push_back(std::make_unique<GuardedBuffer>(count, 8, 0));
  std::memcpy(arrays_.back()->data(), bytes, count);
  return add(*arrays_.back());
}

std::string DeviceCopies::fetch() {
  rt_status status = gpu_.synchronize();
  for (const Copy& copy : copies_) {
    if (status != RT_OK) break;
    status = gpu_.api_->download(gpu_.device_, gpu_.exec_.stream, copy.host->mapping(),
                                 copy.address, copy.host->mapping_bytes());
  }
  if (status == RT_OK) status = gpu_.synchronize();
  return status == RT_OK ? "" : last_failure();
}

}  // namespace rt::test
