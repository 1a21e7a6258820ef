// The CPU as a device: memory of the machine, a pinned thread pool, and streams on which every
// operation is done when its function returns.
#include <sys/resource.h>

#include <cstring>
#include <mutex>
#include <new>
#include <set>

#include "core/sdk/sdk.hpp"
#include "plugins/cpu/limits.h"
#include "plugins/cpu/memory.h"
#include "plugins/cpu/numa.h"
#include "plugins/cpu/processor.h"
#include "plugins/cpu/thread_pool.h"

namespace {
namespace sdk = rt::sdk;
namespace cpu = rt::cpu;

constexpr int kMostThreads = 1024;

constexpr rt_attr_spec kThreads =
    sdk::int_attr_or("threads", 0, 0, kMostThreads,
                     "Threads that compute, the caller included. 0: one per physical core that the "
                     "affinity mask and the CPU quota allow.");
constexpr rt_attr_spec kIsa = sdk::string_attr_or(
    "isa", "all", nullptr,
    "Instruction sets that implementations may use at most: all of this processor, none, or some "
    "(avx2,fma,f16c).");
constexpr const rt_attr_spec* kOptions[] = {&kThreads, &kIsa};

struct Device {
  const rt_host* host;
  std::unique_ptr<cpu::InterleavedPages> pages;
  std::unique_ptr<cpu::ThreadPool> pool;
};

Device& self(void* device) {
  return *static_cast<Device*>(device);
}

std::uint32_t thread_option(std::uint32_t count, const rt_attr* const* options) {
  const rt_attr* threads = sdk::Attributes(options, count).find("threads");
  if (threads == nullptr) return cpu::default_threads();
  if (threads->type != RT_ATTR_INT || threads->i < 0 || threads->i > kMostThreads) {
    throw sdk::Refusal(threads->type != RT_ATTR_INT
                           ? "expected option threads as an integer"
                           : sdk::format("expected option threads in [0, %d], found %lld",
                                         kMostThreads, static_cast<long long>(threads->i)),
                       RT_INVALID);
  }
  return threads->i == 0 ? cpu::default_threads() : static_cast<std::uint32_t>(threads->i);
}

// The list lives as long as the plugin: descriptions point at it. Processors have few, so a set of
// what was ever asked for stays small.
const char* isa_option(std::uint32_t count, const rt_attr* const* options) {
  static std::mutex mutex;
  static std::set<std::string> lists;
  const rt_attr* isa = sdk::Attributes(options, count).find("isa");
  if (isa != nullptr && (isa->type != RT_ATTR_STRING || isa->s == nullptr)) {
    throw sdk::Refusal("expected option isa as a text", RT_INVALID);
  }
  std::string sets;
  std::string why;
  if (!cpu::limit_instruction_sets(isa == nullptr ? "all" : isa->s, &sets, &why)) {
    throw sdk::Refusal(why, RT_INVALID);
  }
  const std::scoped_lock lock(mutex);
  return lists.insert(sets).first->c_str();
}

void check_index(std::uint32_t index) {
  if (index != 0) {
    throw sdk::Refusal(sdk::format("expected cpu device 0, the only one, found %u", index),
                       RT_INVALID);
  }
}

// "cannot commit 65536 bytes: Cannot allocate memory"
rt_status refused(void* device, const char* what, std::uint64_t bytes, int error) {
  std::string why = std::string("cannot ") + what + " " + std::to_string(bytes) +
                    " bytes: " + std::strerror(error);
  const auto name_limit = [&](int resource, const char* of_what, const char* flag) {
    rlimit limit{};
    if (getrlimit(resource, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return;
    why += std::string("; the process's ") + of_what + " is limited to " +
           std::to_string(limit.rlim_cur) + " bytes (ulimit " + flag + ")";
  };
  name_limit(RLIMIT_AS, "address space", "-v");
  name_limit(RLIMIT_DATA, "data", "-d");
  const rt_host* host = self(device).host;
  return host->fail(host, error == ENOMEM ? RT_NO_MEMORY : RT_INTERNAL, why.c_str());
}

rt_status count(const rt_host*, std::uint32_t* out) {
  *out = 1;
  return RT_OK;
}

rt_status describe(const rt_host* host, std::uint32_t index, std::uint32_t option_count,
                   const rt_attr* const* options, rt_device_desc* desc) {
  return sdk::guard(host, [&] {
    check_index(index);
    static const std::string name = cpu::processor_name();
    const cpu::MemoryLimits memory = cpu::memory_limits();
    desc->index = index;
    desc->kind = "cpu";
    desc->name = name.c_str();
    desc->isa = isa_option(option_count, options);
    desc->threads = thread_option(option_count, options);
    desc->host_readable = 1;
    desc->can_reserve = 1;
    desc->can_capture = 0;
    desc->granule_bytes = cpu::kGranuleBytes;
    desc->alignment_bytes = cpu::kAlignmentBytes;
    desc->memory_total_bytes = memory.total_bytes;
    desc->memory_available_bytes = memory.available_bytes;
    desc->value_dtype = RT_F32;
  });
}

rt_status open(const rt_host* host, std::uint32_t index, std::uint32_t option_count,
               const rt_attr* const* options, void** device) {
  return sdk::guard(host, [&] {
    check_index(index);
    const std::uint32_t threads = thread_option(option_count, options);
    cpu::request_amx();
    const std::vector<cpu::Node> nodes = cpu::nodes_of(cpu::usable_cores(), "");
    auto pages = std::make_unique<cpu::InterleavedPages>(nodes);
    if (pages->error() != 0) {
      host->log(
          host, RT_LOG_WARN,
          sdk::format("this machine has %zu nodes of memory, and pages cannot be dealt out to "
                      "them (set_mempolicy: %s): speed is that of one; numactl "
                      "--interleave=all before the command does the same",
                      nodes.size(), std::strerror(pages->error()))
              .c_str());
    }
    std::string why;
    auto pool = cpu::ThreadPool::start(threads, nodes, &why);
    if (pool == nullptr) throw sdk::Refusal(why, RT_NO_MEMORY);
    *device = new Device{host, std::move(pages), std::move(pool)};
  });
}

void close(void* device) {
  delete &self(device);
}

rt_status allocate(void* device, std::uint64_t bytes, void** address) {
  const int error = cpu::allocate(bytes, address);
  return error == 0 ? RT_OK : refused(device, "allocate", bytes, error);
}
void release(void*, void* address, std::uint64_t bytes) {
  cpu::release(address, bytes);
}

rt_status reserve(void* device, std::uint64_t bytes, void** base) {
  const int error = cpu::reserve(bytes, base);
  return error == 0 ? RT_OK : refused(device, "reserve address space of", bytes, error);
}
void unreserve(void*, void* base, std::uint64_t bytes) {
  cpu::unreserve(base, bytes);
}

rt_status commit(void* device, void* address, std::uint64_t bytes) {
  const int error = cpu::commit(address, bytes);
  return error == 0 ? RT_OK : refused(device, "commit", bytes, error);
}
rt_status decommit(void* device, void* address, std::uint64_t bytes) {
  const int error = cpu::decommit(address, bytes);
  return error == 0 ? RT_OK : refused(device, "decommit", bytes, error);
}
rt_status resident(void* device, const void* address, std::uint64_t bytes, std::uint64_t* out) {
  const int error = cpu::resident(address, bytes, out);
  return error == 0 ? RT_OK : refused(device, "look at the pages of", bytes, error);
}

// There is nothing to wait for, so a stream is nothing but an address that is not NULL.
rt_status stream_create(void* device, void** stream) {
  *stream = device;
  return RT_OK;
}
void stream_destroy(void*, void*) {}
rt_status synchronize(void*, void*) {
  return RT_OK;
}

rt_status transfer(void*, void*, void* to, const void* from, std::uint64_t bytes) {
  if (bytes > 0) std::memmove(to, from, bytes);
  return RT_OK;
}

void parallel_for(void* device, std::uint64_t count, std::uint64_t grain, rt_range_fn fn,
                  void* arg) {
  self(device).pool->run(count, grain, fn, arg);
}

constexpr rt_device kDevice = {
    .struct_size = sizeof(rt_device),
    .reserved = 0,
    .kind = "cpu",
    .summary = "the processor and its memory",
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
    .upload = transfer,
    .download = transfer,
    .copy = transfer,
    .capture_begin = nullptr,
    .capture_end = nullptr,
    .replay = nullptr,
    .graph_destroy = nullptr,
    .parallel_for = parallel_for,
    .make_ready = nullptr,
    .download_begin = nullptr,  // a step has ended when the call that runs it returns
    .download_end = nullptr,
};

}  // namespace

RT_LIBRARY("cpu", "0.1.0", kDevice)
