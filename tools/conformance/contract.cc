#include "tools/conformance/contract.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "core/graph/expand.h"
#include "tools/conformance/fused.h"
#include "tools/conformance/trial_host.h"

namespace rt::conformance {
namespace {

struct Learnt {
  std::set<const rt_plugin*> plugins;
  std::map<std::string, std::map<std::uint32_t, Contract>, std::less<>> contracts;
  SchemaSet schemas;
  std::vector<const rt_fusion*> fusions;  // whose contracts have not been asked for yet
  const rt_device* cpu = nullptr;
};
Learnt& learnt() {
  static Learnt all;
  return all;
}

const rt_implementation* reference_in(const rt_plugin& plugin, const rt_schema& schema) {
  for (std::uint32_t i = 0; i < plugin.implementation_count; ++i) {
    const rt_implementation& item = *plugin.implementations[i];
    if (std::string_view(item.op) == schema.op && item.op_version == schema.version &&
        std::string_view(item.device_kind) == "cpu" && item.tier == 0) {
      return &item;
    }
  }
  return nullptr;
}

// Makes the contract of a fused operator, whose parts may have been learnt after it.
void make_fused(std::string_view op, std::string* why) {
  Learnt& all = learnt();
  for (const rt_fusion*& fusion : all.fusions) {
    if (fusion == nullptr || op != fusion->op) continue;
    Result<Contract> made = fused_contract(*fusion, all.schemas);
    if (made.ok()) {
      all.contracts[fusion->op][fusion->version] = *made;
      fusion = nullptr;
    } else if (why != nullptr) {
      *why = made.error().message;
    }
  }
}

}  // namespace

void learn(const rt_plugin& plugin) {
  Learnt& all = learnt();
  if (!all.plugins.insert(&plugin).second) return;
  for (std::uint32_t i = 0; i < plugin.schema_count; ++i) {
    const rt_schema& schema = *plugin.schemas[i];
    auto& versions = all.contracts[schema.op];
    if (!versions.emplace(schema.version, Contract{&schema, reference_in(plugin, schema)}).second)
      continue;
    all.schemas.add(&schema);
  }
  for (std::uint32_t i = 0; RT_HAS(&plugin, fusions) && i < plugin.fusion_count; ++i) {
    all.fusions.push_back(plugin.fusions[i]);
  }
  for (std::uint32_t i = 0; i < plugin.device_count && all.cpu == nullptr; ++i) {
    if (std::string_view(plugin.devices[i]->kind) == "cpu") all.cpu = plugin.devices[i];
  }
}

const Contract* find_contract(std::string_view op, std::uint32_t version, std::string* why) {
  make_fused(op, why);
  const auto versions = learnt().contracts.find(op);
  if (versions == learnt().contracts.end()) return nullptr;
  if (version == 0) return &versions->second.rbegin()->second;
  const auto found = versions->second.find(version);
  return found == versions->second.end() ? nullptr : &found->second;
}

const rt_schema* find_schema(std::string_view op) {
  const Contract* contract = find_contract(op);
  return contract == nullptr ? nullptr : contract->schema;
}

const rt_implementation* find_reference(std::string_view op) {
  const Contract* contract = find_contract(op);
  return contract == nullptr ? nullptr : contract->reference;
}

const rt_device* cpu_api() {
  return learnt().cpu;
}

const rt_device_desc& cpu_device() {
  static const rt_device_desc desc = [] {
    rt_device_desc out{};
    out.kind = "cpu";
    out.isa = "";
    out.threads = 1;
    out.value_dtype = RT_F32;
    const rt_device* cpu = cpu_api();
    if (cpu != nullptr && cpu->describe(trial_host(), 0, 0, nullptr, &out) != RT_OK) {
      std::fprintf(stderr, "cpu device: %s\n", last_failure().c_str());
    }
    return out;
  }();
  return desc;
}

bool has_words(std::string_view isa, std::string_view available) {
  const std::string have = "," + std::string(available) + ",";
  while (!isa.empty()) {
    const std::size_t comma = std::min(isa.find(','), isa.size());
    if (have.find("," + std::string(isa.substr(0, comma)) + ",") == std::string::npos) return false;
    isa.remove_prefix(std::min(comma + 1, isa.size()));
  }
  return true;
}

bool machine_has(std::string_view isa) {
  return has_words(isa, cpu_device().isa);
}

}  // namespace rt::conformance
