#include "core/memory/open_device.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <utility>

#include "core/base/assert.h"
#include "core/base/bytes.h"
#include "core/base/call_site.h"
#include "core/memory/device_description.h"

namespace rt {
namespace {

constexpr std::uint64_t kLeastAlignment = 64;  // what every operator may count on (core/sdk/abi.h)
constexpr std::size_t kDownloadsAtOnce = 2;    // download_begin in core/sdk/device.h

}  // namespace

Result<std::unique_ptr<OpenDevice>> OpenDevice::open(const rt_device& api,
                                                     const rt_device_desc& desc,
                                                     std::span<const rt_attr* const> options,
                                                     const rt_host* host, RefusalText refusal,
                                                     std::uint64_t limit_bytes) {
  RT_RETURN_IF_ERROR(check_abilities(api, desc));
  std::unique_ptr<OpenDevice> device(new OpenDevice(api, desc, refusal, limit_bytes));
  // A host that reads results in place would read those of the step behind.
  device->can_begin_downloads_ =
      desc.host_readable == 0 && RT_HAS(&api, download_end) && api.download_end != nullptr;
  device->begun_bytes_.reserve(kDownloadsAtOnce);
  const auto count = static_cast<std::uint32_t>(options.size());
  RT_RETURN_IF_ERROR(device->call(
      "open", [&] { return api.open(host, desc.index, count, options.data(), &device->device_); }));
  RT_RETURN_IF_ERROR(device->call(
      "create a stream", [&] { return api.stream_create(device->device_, &device->stream_); }));
  device->exec_ = {sizeof(rt_exec), desc.threads, device->device_, device->stream_,
                   api.parallel_for};
  return device;
}

OpenDevice::~OpenDevice() {
  if (stream_ != nullptr) api_.stream_destroy(device_, stream_);
  if (device_ != nullptr) api_.close(device_);
}

template <class Function>
Status OpenDevice::call(std::string_view what, Function&& function) {
  (void)refusal_();  // somebody else's
  const CallSite site{name_, what, {}};
  const RunningCall running(site);
  return check(function(), what);
}

Status OpenDevice::check(rt_status status, std::string_view what) {
  if (status == RT_OK) return {};
  std::string text = refusal_();
  if (text.empty()) text = "refused with status " + std::to_string(status) + " and no reason";
  const std::string message = name_ + ": " + std::string(what) + ": " + text;
  switch (status) {
    case RT_DEVICE_FAULT:
      healthy_ = false;
      return internal(message + "; the session can only be destroyed");
    case RT_NO_MEMORY:
      return environment(message);
    case RT_INVALID:
    case RT_UNSUPPORTED:
      return bad_input(message);
    default:
      return internal(message);
  }
}

Status OpenDevice::upload(void* to_device, const void* from_host, std::uint64_t bytes) {
  return call("upload", [&] { return api_.upload(device_, stream_, to_device, from_host, bytes); });
}

Status OpenDevice::download(void* to_host, const void* from_device, std::uint64_t bytes) {
  return call("download",
              [&] { return api_.download(device_, stream_, to_host, from_device, bytes); });
}

Status OpenDevice::copy(void* to_device, const void* from_device, std::uint64_t bytes) {
  return call("copy", [&] { return api_.copy(device_, stream_, to_device, from_device, bytes); });
}

Status OpenDevice::synchronize() {
  return call("synchronize", [&] { return api_.synchronize(device_, stream_); });
}

Status OpenDevice::capture_begin() {
  return call("start recording", [&] { return api_.capture_begin(device_, stream_); });
}

Status OpenDevice::download_begin(const void* from_device, std::uint64_t bytes) {
  RT_ASSERT_LT(begun_bytes_.size(), kDownloadsAtOnce);
  RT_RETURN_IF_ERROR(
      call("download", [&] { return api_.download_begin(device_, stream_, from_device, bytes); }));
  begun_bytes_.push_back(bytes);
  return {};
}

Status OpenDevice::download_end(void* to_host, std::uint64_t bytes) {
  RT_ASSERT_LT(0u, begun_bytes_.size());
  RT_ASSERT_EQ(begun_bytes_.front(), bytes);
  begun_bytes_.erase(begun_bytes_.begin());
  return call("download", [&] { return api_.download_end(device_, to_host, bytes); });
}

Status OpenDevice::drop_downloads() {
  std::byte nowhere[RT_BEGUN_DOWNLOAD_BYTES];
  Status dropped;
  while (!begun_bytes_.empty()) {
    Status ended = download_end(nowhere, begun_bytes_.front());
    if (dropped.ok()) dropped = std::move(ended);
  }
  return dropped;
}

Result<void*> OpenDevice::capture_end() {
  void* graph = nullptr;
  RT_RETURN_IF_ERROR(
      call("end recording", [&] { return api_.capture_end(device_, stream_, &graph); }));
  return graph;
}

Status OpenDevice::replay(void* graph) {
  return call("replay", [&] { return api_.replay(device_, stream_, graph); });
}

void OpenDevice::destroy_graph(void* graph) {
  api_.graph_destroy(device_, graph);
}

Result<std::uint64_t> OpenDevice::resident(const void* address, std::uint64_t bytes) const {
  if (api_.resident == nullptr) return environment("this device has no witness for residency");
  std::uint64_t resident_bytes = 0;
  if (api_.resident(device_, address, bytes, &resident_bytes) != RT_OK) {
    return environment("device " + std::string(desc_.kind) + ": residency: " + refusal_());
  }
  return resident_bytes;
}

// What a kernel would crash on is told here. Such memory is not given back: what release does with
// it nobody knows.
Status OpenDevice::check_address(const void* address, std::string_view what) const {
  const std::uint64_t alignment = std::min(desc_.alignment_bytes, kLeastAlignment);
  const auto number = reinterpret_cast<std::uintptr_t>(address);
  if (number != 0 && number % alignment == 0) return {};
  char text[32];
  std::snprintf(text, sizeof text, "%p", address);
  return internal(name_ + ": " + std::string(what) + ": expected an address that is a " +
                  "multiple of " + std::to_string(alignment) + ", found " + text);
}

Result<void*> OpenDevice::allocate(std::uint64_t bytes) {
  void* address = nullptr;
  RT_RETURN_IF_ERROR(call("allocate " + format_bytes(bytes),
                          [&] { return api_.allocate(device_, bytes, &address); }));
  RT_RETURN_IF_ERROR(check_address(address, "allocate"));
  return address;
}

void OpenDevice::release(void* address, std::uint64_t bytes) {
  api_.release(device_, address, bytes);
}

Result<void*> OpenDevice::reserve(std::uint64_t bytes) {
  void* base = nullptr;
  RT_RETURN_IF_ERROR(call("reserve " + format_bytes(bytes) + " of address space",
                          [&] { return api_.reserve(device_, bytes, &base); }));
  RT_RETURN_IF_ERROR(check_address(base, "reserve"));
  return base;
}

void OpenDevice::unreserve(void* base, std::uint64_t bytes) {
  api_.unreserve(device_, base, bytes);
}

Status OpenDevice::commit(void* address, std::uint64_t bytes) {
  return call("commit " + format_bytes(bytes),
              [&] { return api_.commit(device_, address, bytes); });
}

Status OpenDevice::decommit(void* address, std::uint64_t bytes) {
  return call("decommit " + format_bytes(bytes),
              [&] { return api_.decommit(device_, address, bytes); });
}

Status OpenDevice::make_ready(std::uint64_t bytes) {
  const std::uint64_t before = ready_bytes_;
  if (bytes == before) return {};
  if (bytes > before) RT_RETURN_IF_ERROR(ledger_.charge(MemoryKind::kKv, bytes - before));
  Status made = call("make " + format_bytes(bytes) + " of memory ready",
                     [&] { return api_.make_ready(device_, bytes); });
  // What a device that failed still holds nobody knows; it can only be closed.
  ready_bytes_ = made.ok() ? bytes : std::min(bytes, before);
  ledger_.discharge(MemoryKind::kKv, std::max(bytes, before) - ready_bytes_);
  return made;
}

std::uint64_t Buffer::charged_bytes(std::uint64_t bytes) {
  return round_up(bytes, kAllocationBytes);
}

Result<Buffer> Buffer::make(OpenDevice& device, MemoryKind kind, std::uint64_t bytes) {
  Buffer buffer;
  if (bytes == 0) return buffer;
  const std::uint64_t charged = charged_bytes(bytes);
  RT_RETURN_IF_ERROR(device.ledger().charge(kind, charged));
  auto address = device.allocate(charged);
  if (!address.ok()) {
    device.ledger().discharge(kind, charged);
    return std::move(address).error();
  }
  buffer.device_ = &device;
  buffer.kind_ = kind;
  buffer.address_ = *address;
  buffer.bytes_ = charged;
  return buffer;
}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  if (this != &other) {
    reset();
    device_ = std::exchange(other.device_, nullptr);
    kind_ = other.kind_;
    address_ = std::exchange(other.address_, nullptr);
    bytes_ = std::exchange(other.bytes_, 0);
  }
  return *this;
}

void Buffer::reset() {
  if (address_ == nullptr) return;
  device_->release(address_, bytes_);
  device_->ledger().discharge(kind_, bytes_);
  address_ = nullptr;
  bytes_ = 0;
}

Result<AddressRange> AddressRange::make(OpenDevice& device, MemoryKind kind, std::uint64_t bytes) {
  AddressRange range;
  const std::uint64_t rounded = round_up(bytes, device.desc().granule_bytes);
  RT_TRY(range.base_, device.reserve(rounded));
  range.device_ = &device;
  range.kind_ = kind;
  range.reserved_ = rounded;
  device.ledger().reserve(rounded);
  return range;
}

AddressRange& AddressRange::operator=(AddressRange&& other) noexcept {
  if (this != &other) {
    reset();
    device_ = std::exchange(other.device_, nullptr);
    kind_ = other.kind_;
    base_ = std::exchange(other.base_, nullptr);
    reserved_ = std::exchange(other.reserved_, 0);
    committed_ = std::exchange(other.committed_, 0);
  }
  return *this;
}

void AddressRange::reset() {
  if (base_ == nullptr) return;
  (void)device_->synchronize();  // a GPU's driver unmaps under kernels that still read
  device_->unreserve(base_, reserved_);
  device_->ledger().discharge(kind_, committed_);
  device_->ledger().unreserve(reserved_);
  base_ = nullptr;
  reserved_ = committed_ = 0;
}

Status AddressRange::commit(std::uint64_t offset, std::uint64_t bytes) {
  RT_ASSERT_LE(offset + bytes, reserved_);
  Ledger& ledger = device_->ledger();
  const std::uint64_t ready = std::min(bytes, device_->ready_bytes());
  RT_RETURN_IF_ERROR(ledger.charge(kind_, bytes - ready));
  if (Status status = device_->commit(data() + offset, bytes); !status.ok()) {
    ledger.discharge(kind_, bytes - ready);
    // How much of it the device had taken by then nobody knows.
    (void)device_->make_ready(0);
    return status;
  }
  device_->take_ready(ready);
  committed_ += bytes;
  return {};
}

Status AddressRange::decommit(std::uint64_t offset, std::uint64_t bytes) {
  RT_ASSERT_LE(bytes, committed_);
  RT_RETURN_IF_ERROR(device_->synchronize());
  RT_RETURN_IF_ERROR(device_->decommit(data() + offset, bytes));
  device_->ledger().discharge(kind_, bytes);
  committed_ -= bytes;
  return {};
}

Status AddressRange::resize(std::uint64_t bytes) {
  const std::uint64_t wanted = round_up(bytes, device_->desc().granule_bytes);
  RT_ASSERT_LE(wanted, reserved_);
  if (wanted > committed_) return commit(committed_, wanted - committed_);
  if (wanted < committed_) return decommit(wanted, committed_ - wanted);
  return {};
}

}  // namespace rt
