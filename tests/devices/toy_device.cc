#include "tests/devices/toy_device.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <deque>
#include <iterator>
#include <memory>
#include <vector>

#include "core/sdk/sdk.hpp"
#include "tests/devices/toy_memory.h"
#include "tests/devices/toy_stream.h"

namespace rt::toy {
namespace {

using std::chrono::microseconds;

constexpr rt_attr_spec kMemoryOption =
    sdk::int_attr_or("memory", 1ll << 30, kGranuleBytes, kWindowBytes, "Memory in bytes.");
constexpr rt_attr_spec kSlowOption =
    sdk::bool_attr_or("slow", false, "Every command starts 300 us late.");
constexpr rt_attr_spec kGranuleOption = sdk::int_attr_or(
    "granule", kGranuleBytes, 0, kGranuleBytes, "The granule that the description claims.");
constexpr const rt_attr_spec* kOptions[] = {&kMemoryOption, &kSlowOption, &kGranuleOption};

struct Options {
  Options(std::uint32_t count, const rt_attr* const* options) {
    const sdk::Attributes attrs(options, count);
    const rt_attr* memory = attrs.find(kMemoryOption.name);
    const rt_attr* slow = attrs.find(kSlowOption.name);
    const rt_attr* granule = attrs.find(kGranuleOption.name);
    memory_bytes = static_cast<std::uint64_t>(memory ? memory->i : kMemoryOption.default_i);
    granule_bytes = static_cast<std::uint64_t>(granule ? granule->i : kGranuleOption.default_i);
    delay = microseconds(slow != nullptr && slow->i != 0 ? 300 : 0);
  }
  std::uint64_t memory_bytes;
  std::uint64_t granule_bytes;
  microseconds delay;
};

struct Begun {
  Stream* stream;
  std::uint64_t mark;
  std::shared_ptr<std::vector<std::byte>> kept;
};

struct Device {
  Device(const rt_host* its_host, const Options& options)
      : host(its_host), delay(options.delay), memory(options.memory_bytes) {}

  bool unsynchronised() const {
    return std::any_of(streams.begin(), streams.end(),
                       [](const auto& stream) { return stream->unsynchronised(); });
  }
  // Lets queued work end, as cudaFree does. Does not count as the host's synchronize().
  void drain() {
    for (const auto& stream : streams) {
      if (!stream->capturing()) stream->wait();
    }
  }

  const rt_host* host;
  const microseconds delay;
  Memory memory;
  Fault fault;
  std::vector<std::unique_ptr<Stream>> streams;
  std::deque<Begun> begun;
};

// Runs body(Device&) on a device that is not faulty.
template <class Body>
rt_status run(void* device, Body&& body) {
  Device& opened = *static_cast<Device*>(device);
  return sdk::guard(opened.host, [&] {
    opened.fault.check();
    body(opened);
  });
}

void expect_index(std::uint32_t index) {
  if (index != 0) {
    throw sdk::Refusal(sdk::format("expected toy device 0, found %u", index), RT_INVALID);
  }
}

rt_status count(const rt_host*, std::uint32_t* devices) {
  *devices = 1;
  return RT_OK;
}

rt_status describe(const rt_host* host, std::uint32_t index, std::uint32_t option_count,
                   const rt_attr* const* options, rt_device_desc* desc) {
  return sdk::guard(host, [&] {
    expect_index(index);
    const Options chosen(option_count, options);
    const std::uint64_t total = chosen.memory_bytes;
    desc->index = index;
    desc->kind = "toy";
    desc->name = "toy device";
    desc->isa = "";
    desc->threads = 0;
    desc->host_readable = 0;
    desc->can_reserve = 1;
    desc->can_capture = 1;
    desc->can_make_ready = 0;
    desc->granule_bytes = chosen.granule_bytes;
    desc->alignment_bytes = kAlignmentBytes;
    desc->memory_total_bytes = total;
    desc->memory_available_bytes = total - std::min(total, Memory::used_bytes());
    desc->value_dtype = RT_F32;
  });
}

rt_status open(const rt_host* host, std::uint32_t index, std::uint32_t option_count,
               const rt_attr* const* options, void** device) {
  return sdk::guard(host, [&] {
    expect_index(index);
    *device = new Device(host, Options(option_count, options));
  });
}

void close(void* device) {
  delete static_cast<Device*>(device);
}

rt_status allocate(void* device, std::uint64_t bytes, void** address) {
  return run(device, [&](Device& d) { *address = d.memory.allocate(bytes); });
}

void release(void* device, void* address, std::uint64_t bytes) {
  Device& d = *static_cast<Device*>(device);
  d.drain();
  if (sdk::guard(d.host, [&] { d.memory.release(address, bytes); }) != RT_OK) {
    d.fault.set("release: not an allocation of this device");
  }
}

rt_status reserve(void* device, std::uint64_t bytes, void** base) {
  return run(device, [&](Device& d) { *base = d.memory.reserve(bytes); });
}

void unreserve(void* device, void* base, std::uint64_t bytes) {
  Device& d = *static_cast<Device*>(device);
  if (d.unsynchronised()) d.fault.set("unreserve: called before synchronize()");
  d.drain();
  if (sdk::guard(d.host, [&] { d.memory.unreserve(base, bytes); }) != RT_OK) {
    d.fault.set("unreserve: not a reservation of this device");
  }
}

rt_status commit(void* device, void* address, std::uint64_t bytes) {
  return run(device, [&](Device& d) { d.memory.commit(address, bytes); });
}

rt_status decommit(void* device, void* address, std::uint64_t bytes) {
  return run(device, [&](Device& d) {
    if (d.unsynchronised()) {
      throw sdk::Refusal("decommit: expected synchronize() after the last work", RT_INVALID);
    }
    d.memory.decommit(address, bytes);
  });
}

rt_status resident(void* device, const void* address, std::uint64_t bytes,
                   std::uint64_t* resident_bytes) {
  return run(device, [&](Device& d) { *resident_bytes = d.memory.resident(address, bytes); });
}

rt_status stream_create(void* device, void** stream) {
  return run(device, [&](Device& d) {
    d.streams.push_back(std::make_unique<Stream>(d.memory, d.fault, d.delay));
    *stream = d.streams.back().get();
  });
}

void stream_destroy(void* device, void* stream) {
  std::erase_if(static_cast<Device*>(device)->streams,
                [&](const auto& owned) { return owned.get() == stream; });
}

rt_status synchronize(void* device, void* stream) {
  return run(device, [&](Device& d) {
    static_cast<Stream*>(stream)->wait();
    d.fault.check();
  });
}

// Whether the range is of the right side is known at once; whether it stands, at its turn.
void expect_device(const Device& d, const void* address, std::uint64_t bytes, const char* what) {
  if (!d.memory.owns(address, bytes)) {
    throw sdk::Refusal(sdk::format("%s: expected a device address, found %p", what, address),
                       RT_INVALID);
  }
}

void expect_host(const Device& d, const void* address, const char* what) {
  if (d.memory.owns(address, 0)) {
    throw sdk::Refusal(
        sdk::format("%s: expected a host address, found device address %p", what, address),
        RT_INVALID);
  }
}

rt_status upload(void* device, void* stream, void* to_device, const void* from_host,
                 std::uint64_t bytes) {
  return run(device, [&](Device& d) {
    expect_device(d, to_device, bytes, "upload to");
    expect_host(d, from_host, "upload from");
    static_cast<Stream*>(stream)->put([=, &memory = d.memory] {
      std::memcpy(memory.standing(to_device, bytes, "upload to"), from_host, bytes);
    });
  });
}

rt_status download(void* device, void* stream, void* to_host, const void* from_device,
                   std::uint64_t bytes) {
  return run(device, [&](Device& d) {
    expect_device(d, from_device, bytes, "download from");
    expect_host(d, to_host, "download to");
    static_cast<Stream*>(stream)->put([=, &memory = d.memory] {
      std::memcpy(to_host, memory.standing(from_device, bytes, "download from"), bytes);
    });
  });
}

// At its turn a begun download is kept here until the host ends it.
rt_status download_begin(void* device, void* stream, const void* from_device, std::uint64_t bytes) {
  return run(device, [&](Device& d) {
    expect_device(d, from_device, bytes, "download from");
    if (d.begun.size() == 2 || bytes > RT_BEGUN_DOWNLOAD_BYTES) {
      throw sdk::Refusal("download_begin: two are under way, or too many bytes", RT_INVALID);
    }
    Stream& on = *static_cast<Stream*>(stream);
    const auto kept = std::make_shared<std::vector<std::byte>>(bytes);
    on.put([=, &memory = d.memory] {
      std::memcpy(kept->data(), memory.standing(from_device, bytes, "download from"), bytes);
    });
    d.begun.push_back({&on, on.mark(), kept});
  });
}

rt_status download_end(void* device, void* to_host, std::uint64_t bytes) {
  return run(device, [&](Device& d) {
    expect_host(d, to_host, "download to");
    if (d.begun.empty()) throw sdk::Refusal("download_end: none is under way", RT_INVALID);
    const Begun begun = d.begun.front();
    d.begun.pop_front();
    begun.stream->wait_for(begun.mark);
    d.fault.check();
    std::memcpy(to_host, begun.kept->data(), bytes);
  });
}

rt_status copy(void* device, void* stream, void* to_device, const void* from_device,
               std::uint64_t bytes) {
  return run(device, [&](Device& d) {
    expect_device(d, to_device, bytes, "copy to");
    expect_device(d, from_device, bytes, "copy from");
    static_cast<Stream*>(stream)->put([=, &memory = d.memory] {
      const void* from = memory.standing(from_device, bytes, "copy from");
      std::memcpy(memory.standing(to_device, bytes, "copy to"), from, bytes);
    });
  });
}

rt_status capture_begin(void* device, void* stream) {
  return run(device, [&](Device&) { static_cast<Stream*>(stream)->capture_begin(); });
}

rt_status capture_end(void* device, void* stream, void** graph) {
  return run(device,
             [&](Device&) { *graph = static_cast<Stream*>(stream)->capture_end().release(); });
}

rt_status replay(void* device, void* stream, void* graph) {
  return run(device,
             [&](Device&) { static_cast<Stream*>(stream)->replay(*static_cast<Graph*>(graph)); });
}

void graph_destroy(void*, void* graph) {
  delete static_cast<Graph*>(graph);
}

}  // namespace

const rt_device kDevice = {
    .struct_size = sizeof(rt_device),
    .reserved = 0,
    .kind = "toy",
    .summary = "a device for tests: memory the host cannot read, 2 MiB granules, streams, replay",
    .option_count = std::size(kOptions),
    .reserved2 = 0,
    .options = kOptions,
    .count = count,
    .describe = describe,
    .open = open,
    .close = close,
    .allocate = allocate,
    .release = release,
    .reserve = reserve,
    .unreserve = unreserve,
    .commit = commit,
    .decommit = decommit,
    .resident = resident,
    .stream_create = stream_create,
    .stream_destroy = stream_destroy,
    .synchronize = synchronize,
    .upload = upload,
    .download = download,
    .copy = copy,
    .capture_begin = capture_begin,
    .capture_end = capture_end,
    .replay = replay,
    .graph_destroy = graph_destroy,
    .parallel_for = nullptr,
    .make_ready = nullptr,
    .download_begin = download_begin,
    .download_end = download_end,
};

}  // namespace rt::toy
