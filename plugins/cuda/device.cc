// The device plugin `cuda`: one NVIDIA GPU's memory, streams, transfers and recordings. Operators
// are other plugins: every call here makes its GPU the thread's current one, so that what they
// launch on the stream, between the calls of a step, finds it.
//
// Once a kernel has failed, the driver answers every call in the process with that error. The first
// text is kept and given with RT_DEVICE_FAULT from then on: the session can only be destroyed.
#include <cstring>
#include <iterator>
#include <optional>
#include <string>

#include "core/sdk/sdk.hpp"

#include "plugins/cuda/address_space.h"
#include "plugins/cuda/begun_downloads.h"
#include "plugins/cuda/driver.h"
#include "plugins/cuda/pinned_ring.h"
#include "plugins/nvidia_library.h"

namespace rt::cuda {
namespace {

constexpr std::uint64_t kAlignmentBytes = 256;  // of cudaMalloc, and what whole lines want
constexpr std::uint32_t kMostDevices = 64;

constexpr rt_attr_spec kValuesOption =
    sdk::string_attr_or("values", "bf16", "bf16|f16|f32",
                        "Elements of the values between operators; operators.exact wants f32.");
constexpr const rt_attr_spec* kOptions[] = {&kValuesOption};

rt_dtype values_of(std::uint32_t count, const rt_attr* const* options) {
  const rt_attr* values = sdk::Attributes(options, count).find(kValuesOption.name);
  const std::string_view name = values == nullptr ? kValuesOption.default_s : values->s;
  return name == "f32" ? RT_F32 : name == "f16" ? RT_F16 : RT_BF16;
}

struct Device {
  Device(const rt_host* its_host, std::uint32_t its_index)
      : host(its_host),
        index(static_cast<int>(its_index)),
        addresses(its_index, describe_gpu(its_index).granule_bytes) {
    expect(cudaSetDevice(index), "open the GPU");
    ring.emplace();
    begun.emplace();
  }

  const rt_host* host;
  int index;
  AddressSpace addresses;
  std::optional<PinnedRing> ring;
  std::optional<BegunDownloads> begun;
  std::string fault;  // "": healthy
};

// Runs body(Device&) on a device that is not faulty, and keeps the fault if it becomes so.
template <class Body>
rt_status run(void* device, Body&& body) {
  Device& d = *static_cast<Device*>(device);
  return sdk::guard(d.host, [&] {
    if (!d.fault.empty()) throw sdk::Refusal(d.fault, RT_DEVICE_FAULT);
    try {
      expect(cudaSetDevice(d.index), "make the GPU current");
      body(d);
    } catch (const sdk::Refusal& refusal) {
      if (refusal.status() == RT_DEVICE_FAULT) d.fault = refusal.what();
      throw;
    }
  });
}

// For what is given back, which has nobody to tell: from a thread that has not seen this GPU the
// calls would open another one's context, half a gigabyte of it.
Device& made_current(void* device) {
  Device& d = *static_cast<Device*>(device);
  (void)cudaSetDevice(d.index);
  return d;
}

cudaStream_t stream_of(void* stream) {
  return static_cast<cudaStream_t>(stream);
}

rt_status count(const rt_host* host, std::uint32_t* devices) {
  return sdk::guard(host, [&] { *devices = device_count(); });
}

rt_status describe(const rt_host* host, std::uint32_t index, std::uint32_t option_count,
                   const rt_attr* const* options, rt_device_desc* desc) {
  return sdk::guard(host, [&] {
    static char names[kMostDevices][256];  // a description's strings live as long as the library
    if (index >= kMostDevices) throw sdk::Refusal("expected fewer than 64 GPUs", RT_INVALID);
    const Gpu gpu = describe_gpu(index);
    std::memcpy(names[index], gpu.name, sizeof gpu.name);
    desc->index = index;
    desc->kind = "cuda";
    desc->name = names[index];
    // What products may ask for (plugins/cublaslt.h); the library stays open, as it will be wanted.
    static const bool has_cublaslt = open_cublaslt() != nullptr;
    desc->isa = has_cublaslt ? "cublaslt" : "";
    desc->threads = 0;
    desc->host_readable = 0;
    desc->can_reserve = gpu.can_reserve ? 1 : 0;
    desc->can_capture = 1;
    desc->granule_bytes = gpu.granule_bytes;
    desc->alignment_bytes = kAlignmentBytes;
    desc->memory_total_bytes = gpu.total_bytes;
    desc->memory_available_bytes = gpu.available_bytes;
    desc->value_dtype = values_of(option_count, options);
    if (RT_HAS(desc, can_make_ready)) desc->can_make_ready = desc->can_reserve;
  });
}

rt_status open(const rt_host* host, std::uint32_t index, std::uint32_t, const rt_attr* const*,
               void** device) {
  return sdk::guard(host, [&] { *device = new Device(host, index); });
}

void close(void* device) {
  delete &made_current(device);
}

rt_status allocate(void* device, std::uint64_t bytes, void** address) {
  return run(device, [&](Device&) { expect(cudaMalloc(address, bytes), "cudaMalloc"); });
}

// On a faulty device the driver has taken everything already; there is nobody to tell.
void release(void* device, void* address, std::uint64_t) {
  (void)made_current(device);
  (void)cudaFree(address);
}

rt_status reserve(void* device, std::uint64_t bytes, void** base) {
  return run(device, [&](Device& d) { *base = d.addresses.reserve(bytes); });
}

void unreserve(void* device, void* base, std::uint64_t bytes) {
  made_current(device).addresses.unreserve(base, bytes);
}

rt_status commit(void* device, void* address, std::uint64_t bytes) {
  return run(device, [&](Device& d) { d.addresses.commit(address, bytes); });
}

rt_status decommit(void* device, void* address, std::uint64_t bytes) {
  return run(device, [&](Device& d) { d.addresses.decommit(address, bytes); });
}

rt_status make_ready(void* device, std::uint64_t bytes) {
  return run(device, [&](Device& d) { d.addresses.make_ready(bytes); });
}

rt_status stream_create(void* device, void** stream) {
  return run(device, [&](Device&) {
    cudaStream_t created = nullptr;
    expect(cudaStreamCreateWithFlags(&created, cudaStreamNonBlocking), "create a stream");
    *stream = created;
  });
}

void stream_destroy(void* device, void* stream) {
  (void)made_current(device);
  (void)cudaStreamDestroy(stream_of(stream));
}

rt_status synchronize(void* device, void* stream) {
  return run(device, [&](Device&) {
    expect(cudaStreamSynchronize(stream_of(stream)), "wait for the GPU");
  });
}

rt_status upload(void* device, void* stream, void* to_device, const void* from_host,
                 std::uint64_t bytes) {
  return run(device,
             [&](Device& d) { d.ring->upload(to_device, from_host, bytes, stream_of(stream)); });
}

rt_status download(void* device, void* stream, void* to_host, const void* from_device,
                   std::uint64_t bytes) {
  return run(device, [&](Device&) {
    expect(cudaMemcpyAsync(to_host, from_device, bytes, cudaMemcpyDeviceToHost, stream_of(stream)),
           "download");
  });
}

rt_status download_begin(void* device, void* stream, const void* from_device, std::uint64_t bytes) {
  return run(device, [&](Device& d) { d.begun->begin(from_device, bytes, stream_of(stream)); });
}

rt_status download_end(void* device, void* to_host, std::uint64_t bytes) {
  return run(device, [&](Device& d) { d.begun->end(to_host, bytes); });
}

rt_status copy(void* device, void* stream, void* to_device, const void* from_device,
               std::uint64_t bytes) {
  return run(device, [&](Device&) {
    expect(
        cudaMemcpyAsync(to_device, from_device, bytes, cudaMemcpyDeviceToDevice, stream_of(stream)),
        "copy");
  });
}

rt_status capture_begin(void* device, void* stream) {
  return run(device, [&](Device&) {
    expect(cudaStreamBeginCapture(stream_of(stream), cudaStreamCaptureModeThreadLocal),
           "begin a recording");
  });
}

rt_status capture_end(void* device, void* stream, void** graph) {
  return run(device, [&](Device&) {
    cudaGraph_t recorded = nullptr;
    expect(cudaStreamEndCapture(stream_of(stream), &recorded), "end a recording");
    cudaGraphExec_t exec = nullptr;
    const cudaError_t error = cudaGraphInstantiate(&exec, recorded, 0);
    (void)cudaGraphDestroy(recorded);
    expect(error, "instantiate a recording");
    *graph = exec;
  });
}

rt_status replay(void* device, void* stream, void* graph) {
  return run(device, [&](Device&) {
    expect(cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph), stream_of(stream)), "replay");
  });
}

void graph_destroy(void* device, void* graph) {
  (void)made_current(device);
  (void)cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph));
}

constexpr rt_device kDevice = {
    .struct_size = sizeof(rt_device),
    .reserved = 0,
    .kind = "cuda",
    .summary = "an NVIDIA GPU of compute capability 8.0 or later",
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
    .resident = nullptr,  // the driver tells of a whole GPU only
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
    .make_ready = make_ready,
    .download_begin = download_begin,
    .download_end = download_end,
};

}  // namespace
}  // namespace rt::cuda

RT_LIBRARY("cuda", "0.1.0", rt::cuda::kDevice)
