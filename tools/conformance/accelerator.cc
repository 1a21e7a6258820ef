#include "tools/conformance/accelerator.h"

#include <cstdio>
#include <cstdlib>

#include "tools/conformance/trial_host.h"

namespace rt::conformance {

std::unique_ptr<Accelerator> Accelerator::open(const rt_device& api, std::string* why) {
  std::unique_ptr<Accelerator> device(new Accelerator(api));
  last_failure().clear();
  if (device->start() == RT_OK) return device;
  *why = last_failure().empty() ? "its device refuses without a reason" : last_failure();
  return nullptr;
}

rt_status Accelerator::start() {
  std::uint32_t count = 0;
  void* stream = nullptr;
  desc_.struct_size = sizeof desc_;
  rt_status status = api_.count(trial_host(), &count);
  if (status == RT_OK && count == 0) {
    last_failure() = "none is here";
    return RT_UNSUPPORTED;
  }
  if (status == RT_OK) status = api_.describe(trial_host(), 0, 0, nullptr, &desc_);
  if (status == RT_OK) status = api_.open(trial_host(), 0, 0, nullptr, &device_);
  if (status == RT_OK) status = api_.stream_create(device_, &stream);
  exec_ = {sizeof(rt_exec), desc_.threads, device_, stream, api_.parallel_for};
  return status;
}

Accelerator::~Accelerator() {
  if (exec_.stream != nullptr) api_.stream_destroy(device_, exec_.stream);
  if (device_ != nullptr) api_.close(device_);
}

DeviceCopies::~DeviceCopies() {
  (void)device_.synchronize();  // uploads read the arrays, kernels the copies
  for (const Copy& copy : copies_) {
    device_.api_.release(device_.device_, copy.address, copy.host->mapping_bytes());
  }
}

// A test that cannot have its memory has nothing to say.
unsigned char* DeviceCopies::add(const GuardedBuffer& buffer) {
  const std::uint64_t bytes = buffer.mapping_bytes();
  if (bytes == 0) return nullptr;  // a buffer of nothing
  void* address = nullptr;
  if (device_.api_.allocate(device_.device_, bytes, &address) != RT_OK ||
      device_.api_.upload(device_.device_, device_.exec_.stream, address, buffer.mapping(),
                          bytes) != RT_OK) {
    std::fprintf(stderr, "the device's memory: %s\n", last_failure().c_str());
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
  rt_status status = device_.synchronize();
  for (const Copy& copy : copies_) {
    if (status != RT_OK) break;
    status = device_.api_.download(device_.device_, device_.exec_.stream, copy.host->mapping(),
                                   copy.address, copy.host->mapping_bytes());
  }
  if (status == RT_OK) status = device_.synchronize();
  return status == RT_OK ? "" : last_failure();
}

}  // namespace rt::conformance
