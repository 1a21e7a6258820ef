#include "core/engine/device_file.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "core/base/assert.h"
#include "core/base/bytes.h"
#include "core/base/text.h"
#include "core/base/yaml.h"
#include "core/graph/graph.h"
#include "core/memory/device_description.h"

namespace rt {
namespace {

// A size under `key`; `absent` where the file does not say.
Result<std::uint64_t> size_under(YamlMapping& file, std::string_view key, std::uint64_t absent) {
  const YamlNode* node = file.find(key);
  if (node == nullptr) return absent;
  RT_TRY(const std::string text, node->as_string());
  const Result<std::uint64_t> bytes = parse_bytes(text);
  if (!bytes.ok() || *bytes == 0) return node->expected(std::string(key) + " to be a size");
  return *bytes;
}

Result<std::uint32_t> flag_under(YamlMapping& file, std::string_view key, bool absent) {
  const YamlNode* node = file.find(key);
  if (node == nullptr) return absent ? 1u : 0u;
  RT_TRY(const bool value, node->as_bool());
  return value ? 1u : 0u;
}

Result<std::string> text_under(YamlMapping& file, std::string_view key, const std::string& absent) {
  const YamlNode* node = file.find(key);
  if (node == nullptr) return absent;
  return node->as_string();
}

// Whose kind is "cpu": what the cpu device may report (plugins/cpu/processor.cc). A word that it
// never does would be a misspelling that plans for less than the machine has.
const std::vector<std::string> kCpuInstructionSets = {
    "sse4_2",    "avx",         "avx2",     "fma",      "f16c",        "bmi2",        "avxvnni",
    "avx512f",   "avx512bw",    "avx512dq", "avx512vl", "avx512_vbmi", "avx512_vnni", "avx512_bf16",
    "fast_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "amx_int8"};

Status check_cpu_isa(const YamlNode& node, const std::vector<std::string>& words) {
  for (const std::string& word : words) {
    if (std::find(kCpuInstructionSets.begin(), kCpuInstructionSets.end(), word) !=
        kCpuInstructionSets.end()) {
      continue;
    }
    return bad_input_at(node.where, "isa: unknown instruction set " + quote(word) +
                                        did_you_mean(word, kCpuInstructionSets) +
                                        " (there are: " + join(kCpuInstructionSets, ", ") + ")");
  }
  return {};
}

Result<std::string> isa_under(YamlMapping& file, const std::string& kind) {
  const YamlNode* node = file.find("isa");
  if (node == nullptr) return std::string();
  RT_TRY(const std::vector<std::string> words, node->as_strings());
  const auto is_word = [](const std::string& word) {
    return !word.empty() && word[0] >= 'a' && word[0] <= 'z';
  };
  if (!std::all_of(words.begin(), words.end(), is_word)) {
    return node->expected("instruction sets by name, as [avx2, fma, f16c]");
  }
  if (kind == "cpu") RT_RETURN_IF_ERROR(check_cpu_isa(*node, words));
  return join(words, ",");
}

// Element type of the values between operators.
Result<rt_dtype> dtype_under(YamlMapping& file) {
  const YamlNode* node = file.find("values");
  if (node == nullptr) return rt_dtype{RT_F32};
  RT_TRY(const std::string name, node->as_string());
  return parse_dtype(name);
}

// The rules of all descriptions, told where the file breaks one. What it leaves out breaks none.
Status check(YamlMapping& file, const rt_device_desc& desc) {
  const std::optional<DescriptionFault> fault = fault_of(desc);
  if (!fault.has_value()) return {};
  const YamlNode* node = file.find(fault->key);
  RT_ASSERT(node != nullptr);
  return node->expected(std::string(fault->key) + " to be " + fault->expected);
}

}  // namespace

Result<std::shared_ptr<const DescribedDevice>> DescribedDevice::read(const std::string& path) {
  RT_TRY(const YamlNode root, read_yaml(path));
  RT_TRY(YamlMapping file, YamlMapping::of(root, "a device"));
  auto out = std::make_shared<DescribedDevice>();
  out->path_ = path;
  RT_TRY(const YamlNode* kind, file.need("kind"));
  RT_TRY(out->kind_, kind->as_string());
  RT_TRY(out->name_, text_under(file, "name", path));
  RT_TRY(out->isa_, isa_under(file, out->kind_));
  rt_device_desc& desc = out->desc_;
  desc.struct_size = sizeof(rt_device_desc);
  if (const YamlNode* threads = file.find("threads")) {
    RT_TRY(const std::int64_t count, threads->as_int(0, UINT32_MAX));
    desc.threads = static_cast<std::uint32_t>(count);
  }
  RT_TRY([[maybe_unused]] const YamlNode* memory, file.need("memory"));
  RT_TRY(desc.memory_total_bytes, size_under(file, "memory", 0));
  RT_TRY(desc.memory_available_bytes, size_under(file, "available", desc.memory_total_bytes));
  RT_TRY(desc.granule_bytes, size_under(file, "granule", 64 << 10));
  RT_TRY(desc.alignment_bytes, size_under(file, "alignment", 64));
  RT_TRY(desc.host_readable, flag_under(file, "host_readable", true));
  RT_TRY(desc.can_reserve, flag_under(file, "can_reserve", true));
  RT_TRY(desc.can_make_ready, flag_under(file, "can_make_ready", false));
  RT_TRY(desc.can_capture, flag_under(file, "can_capture", false));
  RT_TRY(desc.value_dtype, dtype_under(file));
  RT_RETURN_IF_ERROR(file.finish());
  RT_RETURN_IF_ERROR(check(file, out->view()));
  return std::shared_ptr<const DescribedDevice>(std::move(out));
}

std::shared_ptr<const DescribedDevice> DescribedDevice::with_threads(std::uint32_t threads) const {
  auto out = std::make_shared<DescribedDevice>(*this);
  out->desc_.threads = threads;
  return out;
}

rt_device_desc DescribedDevice::view() const {
  rt_device_desc desc = desc_;
  desc.kind = kind_.c_str();
  desc.name = name_.c_str();
  desc.isa = isa_.c_str();
  return desc;
}

}  // namespace rt
