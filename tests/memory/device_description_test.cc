// Descriptions that a plugin may give, and the sentence for each that cannot be planned with.
#include "core/memory/device_description.h"

#include <gtest/gtest.h>

#include <functional>

namespace rt {
namespace {

rt_device_desc good_desc() {
  rt_device_desc desc{};
  desc.struct_size = sizeof desc;
  desc.index = 1;
  desc.kind = "acme";
  desc.name = "a card";
  desc.isa = "";
  desc.granule_bytes = 64 << 10;
  desc.alignment_bytes = 64;
  desc.memory_total_bytes = 1 << 30;
  desc.value_dtype = RT_F32;
  return desc;
}

rt_device bare_device() {
  rt_device api{};
  api.struct_size = sizeof api;
  api.kind = "acme";
  return api;
}

std::string said_of(const rt_device_desc& desc) {
  const Status status = check_description(bare_device(), 1, desc);
  if (status.ok()) return "";
  EXPECT_EQ(status.error().fault, Fault::kBadInput);
  return status.error().message;
}

struct Wrong {
  const char* says;
  std::function<void(rt_device_desc&)> change;
};

const Wrong kWrong[] = {
    {"describe: kind: expected a text, found NULL", [](auto& d) { d.kind = nullptr; }},
    {"describe: name: expected a text, found NULL", [](auto& d) { d.name = nullptr; }},
    {"describe: isa: expected a text, found NULL", [](auto& d) { d.isa = nullptr; }},
    {"describe: kind: expected 'acme', found 'cpu'", [](auto& d) { d.kind = "cpu"; }},
    {"describe: index: expected 1, found 0", [](auto& d) { d.index = 0; }},
    {"describe: threads: expected at most 4096, found 5000", [](auto& d) { d.threads = 5000; }},
    {"describe: memory: expected a size of at most", [](auto& d) { d.memory_total_bytes = 0; }},
    {"describe: memory: expected at least the available memory, 2147483648, found 1073741824",
     [](auto& d) { d.memory_available_bytes = std::uint64_t{1} << 31; }},
    {"describe: granule: expected a power of two of at most 1.00 GiB, found 0",
     [](auto& d) { d.granule_bytes = 0; }},
    {"describe: granule: expected a power of two", [](auto& d) { d.granule_bytes = 3 << 20; }},
    {"describe: alignment: expected a power of two of at most 64.0 KiB, found 0",
     [](auto& d) { d.alignment_bytes = 0; }},
    {"describe: alignment: expected a power of two", [](auto& d) { d.alignment_bytes = 1 << 20; }},
    {"describe: values: expected f32, f16 or bf16, found type 0",
     [](auto& d) { d.value_dtype = 0; }},
    {"describe: can_make_ready: expected false", [](auto& d) { d.can_make_ready = 1; }},
    {"says that it can reserve addresses, and has no function reserve",
     [](auto& d) { d.can_reserve = 1; }},
    {"says that it can record, and has no function capture_begin",
     [](auto& d) { d.can_capture = 1; }},
    {"says that it can run loops on threads, and has no function parallel_for",
     [](auto& d) { d.threads = 4; }},
};

TEST(DeviceDescription, SaysWhatCannotBePlannedWith) {
  EXPECT_EQ(said_of(good_desc()), "");
  for (const Wrong& wrong : kWrong) {
    rt_device_desc desc = good_desc();
    wrong.change(desc);
    const std::string said = said_of(desc);
    EXPECT_TRUE(said.starts_with("device acme: ")) << said;
    EXPECT_NE(said.find(wrong.says), std::string::npos) << wrong.says << "\n" << said;
  }
}

TEST(DeviceDescription, AnOlderPluginHasNoMakeReady) {
  rt_device api = bare_device();
  api.struct_size = offsetof(rt_device, make_ready);
  rt_device_desc desc = good_desc();
  desc.can_make_ready = 1;
  EXPECT_EQ(check_abilities(api, desc).error().message,
            "device acme: says that it can make memory ready, and has no function make_ready");
}

}  // namespace
}  // namespace rt
