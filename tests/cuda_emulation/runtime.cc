// The runtime and driver API that the plugins use, on emulated devices.
//
// Work on a stream is kept until somebody waits for it: a host that reads too early, or reuses what
// is still to be read, is found out every time. A failed kernel makes every later call fail.
// What is not here: kernels beside each other, timing, and a stream that works while the host does.
//
// Threads: cudaSetDevice, cuMemCreate and cuMemRelease from any, the rest from one at a time.
#include <algorithm>
#include <utility>

#include "tests/cuda_emulation/block.h"
#include "tests/cuda_emulation/control.h"
#include "tests/cuda_emulation/driver.h"

namespace cuda_emulation {

Driver& driver() {
  static Driver one;
  return one;
}

namespace {

thread_local int current_device = 0;

bool capturing() {
  const auto& streams = driver().streams;
  return std::any_of(streams.begin(), streams.end(),
                     [](const CUstream_st* s) { return s->recording != nullptr; });
}

}  // namespace

// Of the session's thread.
bool counted_allocation_fails() {
  Driver& d = driver();
  return ++d.allocations == d.failing_allocation;
}

bool counted_creation_fails() {
  Driver& d = driver();
  if (std::this_thread::get_id() == d.session_thread.load()) {
    ++d.creations;
    return counted_allocation_fails();
  }
  if (d.creations_beside_fail) return true;
  ++d.creations_beside;
  return false;
}

namespace {

void do_next(CUstream_st* stream) {
  Driver& d = driver();
  const Work work = std::move(stream->queue.front());
  stream->queue.pop_front();
  ++d.works;
  if (d.sticky == cudaSuccess) d.sticky = work();
}

}  // namespace

void drain() {
  for (CUstream_st* stream : driver().streams) {
    while (!stream->queue.empty()) do_next(stream);
  }
}

void drain_to(CUevent_st* event) {
  while (event->pending > 0 && !event->stream->queue.empty()) do_next(event->stream);
}

cudaError_t forbid_while_capturing() {
  if (!capturing()) return cudaSuccess;
  for (CUstream_st* stream : driver().streams) stream->invalidated = true;
  return cudaErrorStreamCaptureUnsupported;
}

namespace {

bool is_stream(const CUstream_st* stream) {
  const auto& streams = driver().streams;
  return std::find(streams.begin(), streams.end(), stream) != streams.end();
}

cudaError_t put(CUstream_st* stream, Work work) {
  const Driver& d = driver();
  if (d.sticky != cudaSuccess) return d.sticky;
  if (!is_stream(stream)) return cudaErrorInvalidResourceHandle;
  if (stream->recording != nullptr) {
    stream->recording->work.push_back(std::move(work));
  } else {
    stream->queue.push_back(std::move(work));
  }
  return cudaSuccess;
}

cudaError_t run_kernel(const cudaLaunchConfig_t& config, const RunBlock& run) {
  Driver& d = driver();
  if (++d.kernels == d.failing_kernel) return cudaErrorIllegalAddress;
  const dim3& grid = config.gridDim;
  const std::uint64_t blocks = std::uint64_t{grid.x} * grid.y * grid.z;
  for (std::uint64_t i = 0; i < blocks; ++i) {
    // Every second kernel from its last block to its first: no kernel may count on an order.
    const std::uint64_t b = d.kernels % 2 == 0 ? i : blocks - 1 - i;
    const auto x = static_cast<unsigned>(b % grid.x);
    const auto y = static_cast<unsigned>(b / grid.x % grid.y);
    run(config, {x, y, static_cast<unsigned>(b / grid.x / grid.y)}, i == 0);
  }
  return cudaSuccess;
}

}  // namespace

std::size_t allowed_shared(const void* function) {
  const auto found = driver().allowed_shared.find(function);
  return found == driver().allowed_shared.end() ? 0 : found->second;
}

cudaError_t launch_kernel(const cudaLaunchConfig_t& config, std::function<void()> thread_body) {
  return launch_blocks(
      config, [body = std::move(thread_body)](const cudaLaunchConfig_t& of, uint3 block, bool) {
        cuda_emulation::run_block(of, block, body);
      });
}

cudaError_t launch_blocks(const cudaLaunchConfig_t& config, RunBlock run) {
  if (!fits(config)) return cudaErrorInvalidConfiguration;
  if (is_stream(config.stream) && config.stream->device != current_device) {
    return cudaErrorInvalidResourceHandle;
  }
  if (++driver().launches == driver().refused_launch) return cudaErrorMemoryAllocation;
  return put(config.stream, [config, run = std::move(run)] { return run_kernel(config, run); });
}

}  // namespace cuda_emulation

using namespace cuda_emulation;

extern "C" {

// --- devices

cudaError_t cudaDriverGetVersion(int* version) {
  *version = driver().version;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int* count) {
  *count = 0;
  if (driver().version < CUDA_VERSION) return cudaErrorInsufficientDriver;
  if (driver().devices == 0) return cudaErrorNoDevice;
  *count = driver().devices;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  const Driver& d = driver();
  if (device < 0 || device >= d.devices) return cudaErrorInvalidDevice;
  *properties = {};
  std::strcpy(properties->name, "CUDA emulation");
  properties->totalGlobalMem = d.memory.total();
  properties->major = d.major;
  properties->minor = d.minor;
  properties->multiProcessorCount = kMultiprocessors;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  if (driver().sticky != cudaSuccess) return driver().sticky;
  if (device < 0 || device >= driver().devices) return cudaErrorInvalidDevice;
  current_device = device;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
  *device = current_device;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  *value = attribute == cudaDevAttrMultiProcessorCount      ? kMultiprocessors
           : attribute == cudaDevAttrComputeCapabilityMinor ? driver().minor
                                                            : driver().major;
  return cudaSuccess;
}
cudaError_t cudaGetLastError() {
  return driver().sticky;
}
const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorInvalidValue:
      return "invalid argument";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInvalidConfiguration:
      return "invalid configuration argument";
    case cudaErrorInsufficientDriver:
      return "CUDA driver version is insufficient for CUDA runtime version";
    case cudaErrorNoDevice:
      return "no CUDA-capable device is detected";
    case cudaErrorInvalidDevice:
      return "invalid device ordinal";
    case cudaErrorInvalidResourceHandle:
      return "invalid resource handle";
    case cudaErrorIllegalAddress:
      return "an illegal memory access was encountered";
    case cudaErrorStreamCaptureUnsupported:
      return "operation not permitted when stream is capturing";
    case cudaErrorStreamCaptureInvalidated:
      return "operation failed due to a previous error during capture";
    default:
      return "unknown error";
  }
}

// --- streams, events, graphs

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  if (driver().sticky != cudaSuccess) return driver().sticky;
  *stream = new CUstream_st();
  (*stream)->device = current_device;
  driver().streams.push_back(*stream);
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  drain();
  std::erase(driver().streams, stream);
  delete stream->recording;
  delete stream;
  return driver().sticky;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (const cudaError_t error = forbid_while_capturing(); error != cudaSuccess) return error;
  if (!stream->queue.empty()) ++driver().idle_waits;
  drain();
  return driver().sticky;
}
cudaError_t cudaDeviceSynchronize() {
  if (const cudaError_t error = forbid_while_capturing(); error != cudaSuccess) return error;
  drain();
  return driver().sticky;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  return put(stream, [=]() -> cudaError_t {
    const cuda_emulation::Memory& memory = driver().memory;
    if (bytes == 0) return cudaSuccess;
    const bool to_device = memory.stands(to, bytes);
    const bool from_device = memory.stands(from, bytes);
    if (to_device != (kind != cudaMemcpyDeviceToHost) ||
        from_device != (kind != cudaMemcpyHostToDevice)) {
      return cudaErrorIllegalAddress;
    }
    std::memmove(to, from, bytes);
    return cudaSuccess;
  });
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new CUevent_st();
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  if (is_stream(event->stream)) drain_to(event);  // a stream that is gone has nothing left to do
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  if (stream->recording != nullptr) return cudaErrorStreamCaptureUnsupported;
  event->stream = stream;
  ++event->pending;
  return put(stream, [event] {
    --event->pending;
    return cudaSuccess;
  });
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (event->pending == 0) return driver().sticky;
  drain_to(event);
  if (event->stream->queue.empty()) ++driver().idle_waits;
  return driver().sticky;
}
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  if (driver().sticky != cudaSuccess) return driver().sticky;
  if (stream->recording != nullptr) return cudaErrorInvalidValue;
  stream->recording = new CUgraph_st();
  stream->invalidated = false;
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  *graph = nullptr;
  if (stream->recording == nullptr) return cudaErrorInvalidValue;
  *graph = std::exchange(stream->recording, nullptr);
  if (!stream->invalidated) return driver().sticky;
  delete std::exchange(*graph, nullptr);
  return cudaErrorStreamCaptureInvalidated;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  if (driver().sticky != cudaSuccess) return driver().sticky;
  if (counted_allocation_fails()) return cudaErrorMemoryAllocation;
  *exec = new CUgraphExec_st{graph->work};
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  delete exec;
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  for (const Work& work : exec->work) {
    if (const cudaError_t error = put(stream, work); error != cudaSuccess) return error;
  }
  return driver().sticky;
}
cudaError_t cudaFuncSetAttribute(const void* function, cudaFuncAttribute, int value) {
  driver().allowed_shared[function] = static_cast<std::size_t>(value);
  return cudaSuccess;
}

// --- the knobs (control.h)

void cuda_emulation_reset() {
  Driver& d = driver();
  d.sticky = cudaSuccess;
  d.session_thread = std::this_thread::get_id();
  d.allocations = d.failing_allocation = d.creations = 0;
  d.creations_beside = 0;
  d.creations_beside_fail = false;
  d.kernels = d.failing_kernel = 0;
  d.launches = d.refused_launch = 0;
  d.idle_waits = 0;
  d.version = CUDA_VERSION;
  d.devices = 1;
  d.major = 9;
  d.minor = 0;
  d.has_virtual_memory = true;
  d.memory.set_total(std::size_t{4} << 30);
}
void cuda_emulation_fail_allocation(std::uint64_t n) {
  driver().failing_allocation = n == 0 ? 0 : driver().allocations + n;
}
std::uint64_t cuda_emulation_allocations() {
  return driver().allocations;
}
std::uint64_t cuda_emulation_creations() {
  return driver().creations;
}
void cuda_emulation_fail_creations_beside(bool fail) {
  driver().creations_beside_fail = fail;
}
std::uint64_t cuda_emulation_creations_beside() {
  return driver().creations_beside;
}
void cuda_emulation_fail_kernel(std::uint64_t n) {
  driver().failing_kernel = n == 0 ? 0 : driver().kernels + n;
}
std::uint64_t cuda_emulation_kernels() {
  return driver().kernels;
}
void cuda_emulation_refuse_launch(std::uint64_t n) {
  driver().refused_launch = n == 0 ? 0 : driver().launches + n;
}
std::uint64_t cuda_emulation_launches() {
  return driver().launches;
}
std::uint64_t cuda_emulation_idle_waits() {
  return driver().idle_waits;
}
void cuda_emulation_set_driver(int version) {
  driver().version = version;
}
void cuda_emulation_set_devices(int count) {
  driver().devices = count;
}
void cuda_emulation_set_capability(int major, int minor) {
  driver().major = major;
  driver().minor = minor;
}
void cuda_emulation_set_memory(std::uint64_t total_bytes) {
  driver().memory.set_total(total_bytes);
}
void cuda_emulation_set_virtual_memory(bool has) {
  driver().has_virtual_memory = has;
}
std::uint64_t cuda_emulation_used_bytes() {
  return driver().memory.used();
}

}  // extern "C"
