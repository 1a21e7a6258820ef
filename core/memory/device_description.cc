#include "core/memory/device_description.h"

#include <bit>
#include <string_view>

#include "core/base/bytes.h"
#include "core/base/text.h"

namespace rt {
namespace {

constexpr std::uint32_t kMostThreads = 4096;
constexpr std::uint64_t kMostMemoryBytes = std::uint64_t{1} << 50;
constexpr std::uint64_t kMostGranuleBytes = std::uint64_t{1} << 30;
constexpr std::uint64_t kMostAlignmentBytes = 1 << 16;

using MaybeFault = std::optional<DescriptionFault>;

MaybeFault text_fault(const char* key, const char* text) {
  if (text != nullptr) return {};
  return DescriptionFault{key, "a text", "NULL"};
}

MaybeFault size_fault(const char* key, std::uint64_t bytes, std::uint64_t most) {
  if (bytes > 0 && bytes <= most) return {};
  return DescriptionFault{key, "a size of at most " + format_bytes(most), std::to_string(bytes)};
}

MaybeFault power_fault(const char* key, std::uint64_t bytes, std::uint64_t most) {
  if (std::has_single_bit(bytes) && bytes <= most) return {};
  return DescriptionFault{key, "a power of two of at most " + format_bytes(most),
                          std::to_string(bytes)};
}

MaybeFault available_fault(const rt_device_desc& desc) {
  if (desc.memory_available_bytes <= desc.memory_total_bytes) return {};
  return DescriptionFault{
      "memory", "at least the available memory, " + std::to_string(desc.memory_available_bytes),
      std::to_string(desc.memory_total_bytes)};
}

MaybeFault value_fault(rt_dtype dtype) {
  if (dtype == RT_F32 || dtype == RT_F16 || dtype == RT_BF16) return {};
  return DescriptionFault{"values", "f32, f16 or bf16", "type " + std::to_string(dtype)};
}

MaybeFault threads_fault(std::uint32_t threads) {
  if (threads <= kMostThreads) return {};
  return DescriptionFault{"threads", "at most " + std::to_string(kMostThreads),
                          std::to_string(threads)};
}

MaybeFault ready_fault(const rt_device_desc& desc) {
  if (desc.can_make_ready == 0 || desc.can_reserve != 0) return {};
  return DescriptionFault{"can_make_ready", "false or to have can_reserve: true beside it", "true"};
}

Status need(const rt_device& api, bool claimed, const char* ability, bool has,
            const char* function) {
  if (!claimed || has) return {};
  return bad_input("device " + std::string(api.kind) + ": says that it can " + ability +
                   ", and has no function " + function);
}

}  // namespace

std::optional<DescriptionFault> fault_of(const rt_device_desc& desc) {
  for (const MaybeFault& fault :
       {text_fault("kind", desc.kind), text_fault("name", desc.name), text_fault("isa", desc.isa),
        threads_fault(desc.threads),
        size_fault("memory", desc.memory_total_bytes, kMostMemoryBytes), available_fault(desc),
        power_fault("granule", desc.granule_bytes, kMostGranuleBytes),
        power_fault("alignment", desc.alignment_bytes, kMostAlignmentBytes), ready_fault(desc),
        value_fault(desc.value_dtype)}) {
    if (fault.has_value()) return fault;
  }
  return {};
}

Status check_description(const rt_device& api, std::uint32_t index, const rt_device_desc& desc) {
  MaybeFault fault = fault_of(desc);
  if (!fault.has_value() && std::string_view(desc.kind) != api.kind) {
    fault = DescriptionFault{"kind", quote(api.kind), quote(desc.kind)};
  }
  if (!fault.has_value() && desc.index != index) {
    fault = DescriptionFault{"index", std::to_string(index), std::to_string(desc.index)};
  }
  if (!fault.has_value()) return check_abilities(api, desc);
  return bad_input("device " + std::string(api.kind) + ": describe: " + fault->key + ": expected " +
                   fault->expected + ", found " + fault->found);
}

// Of functions that belong together a library has all or none (core/plugin/descriptor_parts.h).
Status check_abilities(const rt_device& api, const rt_device_desc& desc) {
  const bool makes_ready = RT_HAS(&api, make_ready) && api.make_ready != nullptr;
  RT_RETURN_IF_ERROR(
      need(api, desc.can_reserve != 0, "reserve addresses", api.reserve != nullptr, "reserve"));
  RT_RETURN_IF_ERROR(
      need(api, desc.can_capture != 0, "record", api.capture_begin != nullptr, "capture_begin"));
  RT_RETURN_IF_ERROR(
      need(api, desc.can_make_ready != 0, "make memory ready", makes_ready, "make_ready"));
  return need(api, desc.threads > 0, "run loops on threads", api.parallel_for != nullptr,
              "parallel_for");
}

}  // namespace rt
