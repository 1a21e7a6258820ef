// An opened device (core/sdk/device.h) with its ledger: the only way core touches device memory.
// Allocations and reservations are RAII objects that charge the ledger, so a byte cannot be taken
// without being counted nor outlive its owner.
//
// Threads: one at a time. The device outlives its buffers.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/result.h"
#include "core/memory/ledger.h"
#include "core/memory/refusal_text.h"
#include "core/sdk/device.h"

namespace rt {

class OpenDevice {
 public:
  // `host` is given to the plugin.
  static Result<std::unique_ptr<OpenDevice>> open(const rt_device& api, const rt_device_desc& desc,
                                                  std::span<const rt_attr* const> options,
                                                  const rt_host* host, RefusalText refusal,
                                                  std::uint64_t limit_bytes);
  ~OpenDevice();
  OpenDevice(const OpenDevice&) = delete;
  OpenDevice& operator=(const OpenDevice&) = delete;

  const rt_device_desc& desc() const { return desc_; }
  const rt_exec& exec() const { return exec_; }
  Ledger& ledger() { return ledger_; }
  const Ledger& ledger() const { return ledger_; }

  // Transfers are ordered on the device's one stream; host memory must stay until synchronize().
  Status upload(void* to_device, const void* from_host, std::uint64_t bytes);
  Status download(void* to_host, const void* from_device, std::uint64_t bytes);
  Status copy(void* to_device, const void* from_device, std::uint64_t bytes);
  Status synchronize();

  // A download in two halves (rt_device.download_begin), of which two may be under way.
  bool can_begin_downloads() const { return can_begin_downloads_; }
  Status download_begin(const void* from_device, std::uint64_t bytes);
  Status download_end(void* to_host, std::uint64_t bytes);
  // Ends those of a step that went wrong, into nothing.
  Status drop_downloads();

  // Recording (desc().can_capture). The graph is destroyed with destroy_graph.
  Status capture_begin();
  Result<void*> capture_end();
  Status replay(void* graph);
  void destroy_graph(void* graph);

  // Bytes resident by the operating system's word; kEnvironment where there is no witness.
  Result<std::uint64_t> resident(const void* address, std::uint64_t bytes) const;

  // For Buffer and AddressRange.
  Result<void*> allocate(std::uint64_t bytes);
  void release(void* address, std::uint64_t bytes);
  Result<void*> reserve(std::uint64_t bytes);
  void unreserve(void* base, std::uint64_t bytes);
  Status commit(void* address, std::uint64_t bytes);
  Status decommit(void* address, std::uint64_t bytes);

  // Whole granules that the next commits are to find made (desc().can_make_ready), in place of what
  // was asked before; 0: none. Charged from now on (kKv: nothing else is committed), so a commit
  // pays only for what it does not find. Past the limit it is refused (kEnvironment), and nothing
  // has changed.
  Status make_ready(std::uint64_t bytes);
  std::uint64_t ready_bytes() const { return ready_bytes_; }
  // For AddressRange: a commit has taken `bytes` of them.
  void take_ready(std::uint64_t bytes) { ready_bytes_ -= bytes; }

  // The first RT_DEVICE_FAULT makes the device unhealthy for good: its plugin refuses every later
  // call (core/sdk/device.h), and whoever holds it asks here before going on.
  bool healthy() const { return healthy_; }
  // Turns a status of this device's plugin (or of an implementation on it) into a Status.
  Status check(rt_status status, std::string_view what);

 private:
  OpenDevice(const rt_device& api, const rt_device_desc& desc, RefusalText refusal,
             std::uint64_t limit_bytes)
      : api_(api),
        desc_(desc),
        name_("device " + std::string(desc.kind) + ":" + std::to_string(desc.index)),
        refusal_(refusal),
        ledger_(limit_bytes) {}

  // Calls the plugin; a refusal, or a crash, is told with the device's name and `what` was asked.
  template <class Function>
  Status call(std::string_view what, Function&& function);
  Status check_address(const void* address, std::string_view what) const;

  const rt_device& api_;
  rt_device_desc desc_;
  std::string name_;  // "device cpu:0"
  RefusalText refusal_;
  Ledger ledger_;
  void* device_ = nullptr;
  void* stream_ = nullptr;
  rt_exec exec_{};
  bool healthy_ = true;
  bool can_begin_downloads_ = false;
  std::vector<std::uint64_t> begun_bytes_;  // of the downloads under way, at most two
  std::uint64_t ready_bytes_ = 0;
};

// A plain allocation of whole pages, charged to `kind`.
class Buffer {
 public:
  Buffer() = default;
  static Result<Buffer> make(OpenDevice& device, MemoryKind kind, std::uint64_t bytes);
  // What make() will charge for `bytes`.
  static std::uint64_t charged_bytes(std::uint64_t bytes);
  Buffer(Buffer&& other) noexcept { *this = std::move(other); }
  Buffer& operator=(Buffer&& other) noexcept;
  ~Buffer() { reset(); }
  void reset();

  std::byte* data() const { return static_cast<std::byte*>(address_); }
  std::uint64_t bytes() const { return bytes_; }  // charged
  explicit operator bool() const { return address_ != nullptr; }

 private:
  OpenDevice* device_ = nullptr;
  MemoryKind kind_ = MemoryKind::kKv;
  void* address_ = nullptr;
  std::uint64_t bytes_ = 0;
};

// Reserved address space, parts of which are backed by memory, charged to `kind`.
class AddressRange {
 public:
  AddressRange() = default;
  static Result<AddressRange> make(OpenDevice& device, MemoryKind kind, std::uint64_t bytes);
  AddressRange(AddressRange&& other) noexcept { *this = std::move(other); }
  AddressRange& operator=(AddressRange&& other) noexcept;
  ~AddressRange() { reset(); }
  void reset();

  // Backs [offset, offset + bytes), whole granules of which none stands; on refusal nothing has
  // changed.
  Status commit(std::uint64_t offset, std::uint64_t bytes);
  // Gives back whole granules that all stand. Synchronises first.
  Status decommit(std::uint64_t offset, std::uint64_t bytes);

  // For a range that is only ever backed from its start: commits or decommits at the end so that
  // exactly round_up(bytes, granule) stand.
  Status resize(std::uint64_t bytes);

  std::byte* data() const { return static_cast<std::byte*>(base_); }
  std::uint64_t reserved() const { return reserved_; }
  std::uint64_t committed() const { return committed_; }
  explicit operator bool() const { return base_ != nullptr; }

 private:
  OpenDevice* device_ = nullptr;
  MemoryKind kind_ = MemoryKind::kKv;
  void* base_ = nullptr;
  std::uint64_t reserved_ = 0;
  std::uint64_t committed_ = 0;
};

}  // namespace rt
