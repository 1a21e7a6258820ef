#include "tools/conformance/device_report.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "core/base/result.h"
#include "core/memory/device_description.h"
#include "core/memory/open_device.h"
#include "tools/conformance/trial_host.h"

namespace rt::conformance {
namespace {

constexpr std::size_t kBytes = 3 * 65536 + 5;
constexpr std::uint32_t kMostDevices = 64;

std::string take_failure() {
  return std::exchange(last_failure(), "");
}

std::string refusal() {
  const std::string text = take_failure();
  return text.empty() ? "refuses without a reason" : text;
}

// What is written at `there` comes back, in one piece.
Status check_transfers(OpenDevice& device, std::byte* there) {
  std::vector<std::byte> sent(kBytes);
  for (std::size_t i = 0; i < kBytes; ++i) sent[i] = static_cast<std::byte>(i * 7 + i / 251);
  std::vector<std::byte> found(kBytes);
  RT_RETURN_IF_ERROR(device.upload(there, sent.data(), kBytes));
  RT_RETURN_IF_ERROR(device.download(found.data(), there, kBytes));
  RT_RETURN_IF_ERROR(device.synchronize());
  if (found == sent) return {};
  return bad_input("download brings back other bytes than were uploaded");
}

Status check_memory(OpenDevice& device) {
  RT_TRY(const Buffer buffer, Buffer::make(device, MemoryKind::kWorkspace, kBytes));
  RT_RETURN_IF_ERROR(check_transfers(device, buffer.data()));
  if (device.desc().can_reserve == 0) return {};
  RT_TRY(AddressRange range, AddressRange::make(device, MemoryKind::kKv, 4 * kBytes));
  RT_RETURN_IF_ERROR(range.resize(kBytes));
  RT_RETURN_IF_ERROR(check_transfers(device, range.data()));
  RT_RETURN_IF_ERROR(range.resize(2 * kBytes));
  RT_RETURN_IF_ERROR(check_transfers(device, range.data() + kBytes));
  return range.resize(0);
}

Status check_device(const rt_device& api, std::uint32_t index) {
  rt_device_desc desc{};
  desc.struct_size = sizeof desc;
  if (api.describe(trial_host(), index, 0, nullptr, &desc) != RT_OK) {
    return bad_input("describe: " + refusal());
  }
  RT_RETURN_IF_ERROR(check_description(api, index, desc));
  RT_TRY(const auto device,
         OpenDevice::open(api, desc, {}, trial_host(), take_failure, UINT64_MAX));
  return check_memory(*device);
}

}  // namespace

Report hold_device(const rt_device& device, const std::function<void(const std::string&)>& begins) {
  Report report;
  std::uint32_t count = 0;
  begins("count");
  if (device.count(trial_host(), &count) != RT_OK) {
    report.refusals[refusal()] = 1;
    return report;
  }
  if (count == 0) report.refusals["none is here"] = 1;
  for (std::uint32_t i = 0; i < std::min(count, kMostDevices) && !report.failure; ++i) {
    const std::string at = std::string(device.kind) + ":" + std::to_string(i);
    begins(at);
    const Status checked = check_device(device, i);
    if (checked.ok()) ++report.served_count;
    if (!checked.ok()) report.failure = Failure{at, {checked.error().message}};
  }
  return report;
}

}  // namespace rt::conformance
