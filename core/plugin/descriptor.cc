#include "core/plugin/descriptor.h"

#include <algorithm>
#include <string>
#include <vector>

#include "core/base/text.h"
#include "core/graph/fusion_pattern.h"
#include "core/plugin/descriptor_parts.h"

namespace rt {
namespace {

std::string id_text(const char* op, std::uint32_t version) {
  return OperatorId{op, version}.text();
}

// What the manifest should say, gathered from the descriptor.
class Content {
 public:
  explicit Content(const rt_plugin& plugin) : plugin_(plugin) {}

  Status gather() {
    RT_RETURN_IF_ERROR(gather_schemas());
    RT_RETURN_IF_ERROR(gather_fusions());
    RT_RETURN_IF_ERROR(gather_implementations());
    RT_RETURN_IF_ERROR(gather_planners());
    return gather_devices();
  }
  Status check_references() const;
  Status compare(const Manifest& manifest) const;

 private:
  Status gather_schemas();
  Status gather_fusions();
  Status gather_implementations();
  Status gather_planners();
  Status gather_devices();

  const rt_plugin& plugin_;
  std::vector<OperatorId> schemas_;
  std::vector<ManifestFusion> fusions_;
  std::vector<ManifestImplementation> implementations_;
  std::vector<std::string> planners_;
  std::vector<std::string> devices_;
};

Status Content::gather_schemas() {
  RT_TRY(const auto schemas,
         check_list(plugin_.schemas, plugin_.schema_count, kDescriptorCountLimit,
                    RT_BYTES_THROUGH(rt_schema, tolerance_relative), "schemas"));
  for (const rt_schema* schema : schemas) {
    RT_RETURN_IF_ERROR(check_name(schema->op, is_operator_name, "schema.op"));
    if (Status status = check_schema(*schema); !status.ok()) {
      return in("schema " + id_text(schema->op, schema->version), std::move(status).error());
    }
    schemas_.push_back({schema->op, schema->version});
  }
  return check_unique(
      schemas, [](const rt_schema& item) { return id_text(item.op, item.version); }, "schemas");
}

Status Content::gather_fusions() {
  if (!RT_HAS(&plugin_, fusions)) return {};
  RT_RETURN_IF_ERROR(check_zero(plugin_.reserved, "rt_plugin.reserved"));
  RT_TRY(const auto fusions,
         check_list(plugin_.fusions, plugin_.fusion_count, kDescriptorCountLimit,
                    RT_BYTES_THROUGH(rt_fusion, pattern), "fusions"));
  for (const rt_fusion* fusion : fusions) {
    RT_RETURN_IF_ERROR(check_name(fusion->op, is_operator_name, "fusion.op"));
    const OperatorId id{fusion->op, fusion->version};
    if (Status status = check_fusion(*fusion); !status.ok()) {
      return in("fusion " + id.text(), std::move(status).error());
    }
    RT_TRY(const FusionPattern pattern,
           parse_fusion_pattern(fusion->pattern, "pattern of " + id.text()));
    ManifestFusion item{id, {}};
    for (const std::string& op : pattern.operators()) {
      if (!parse_operator(op, &item.parts.emplace_back())) {
        return bad_input("pattern of " + id.text() + ": expected operators, found " + quote(op));
      }
    }
    fusions_.push_back(std::move(item));
  }
  return check_unique(
      fusions, [](const rt_fusion& item) { return id_text(item.op, item.version); }, "fusions");
}

Status Content::gather_implementations() {
  RT_TRY(const auto items,
         check_list(plugin_.implementations, plugin_.implementation_count, kDescriptorCountLimit,
                    RT_BYTES_THROUGH(rt_implementation, destroy), "implementations"));
  for (const rt_implementation* item : items) {
    RT_RETURN_IF_ERROR(check_name(item->op, is_operator_name, "implementation.op"));
    if (Status status = check_implementation(*item); !status.ok()) {
      return in("implementation of " + id_text(item->op, item->op_version),
                std::move(status).error());
    }
    implementations_.push_back(
        {{item->op, item->op_version}, item->device_kind, item->name, item->isa});
  }
  return check_unique(
      items,
      [](const rt_implementation& item) {
        return id_text(item.op, item.op_version) + " " + item.device_kind + " " + item.name;
      },
      "implementations");
}

Status Content::gather_planners() {
  RT_TRY(const auto planners,
         check_list(plugin_.planners, plugin_.planner_count, kDescriptorCountLimit,
                    RT_BYTES_THROUGH(rt_planner, capacity), "planners"));
  for (const rt_planner* planner : planners) {
    RT_RETURN_IF_ERROR(check_name(planner->name, is_name, "planner.name"));
    if (Status status = check_planner(*planner); !status.ok()) {
      return in(std::string("planner ") + planner->name, std::move(status).error());
    }
    planners_.push_back(planner->name);
  }
  return check_unique(
      planners, [](const rt_planner& item) { return std::string(item.name); }, "planners");
}

Status Content::gather_devices() {
  RT_TRY(const auto devices,
         check_list(plugin_.devices, plugin_.device_count, kDescriptorCountLimit,
                    RT_BYTES_THROUGH(rt_device, parallel_for), "devices"));
  for (const rt_device* device : devices) {
    RT_RETURN_IF_ERROR(check_name(device->kind, is_name, "device.kind"));
    if (Status status = check_device(*device); !status.ok()) {
      return in(std::string("device ") + device->kind, std::move(status).error());
    }
    devices_.push_back(device->kind);
  }
  return check_unique(
      devices, [](const rt_device& item) { return std::string(item.kind); }, "devices");
}

// A schema is a promise that can be tested: it comes with the reference it is tested against.
Status Content::check_references() const {
  for (const OperatorId& schema : schemas_) {
    const auto is_reference = [&](const ManifestImplementation& item) {
      return item.op == schema && item.name == "reference" && item.device_kind == "cpu" &&
             item.isa.empty();
    };
    if (std::any_of(implementations_.begin(), implementations_.end(), is_reference)) continue;
    return bad_input("schema " + schema.text() +
                     " has no implementation named 'reference' for the cpu; add one in double "
                     "precision, it is what others are tested against");
  }
  return {};
}

std::string text_of(const OperatorId& item) {
  return item.text();
}
std::string text_of(const std::string& item) {
  return item;
}
std::string text_of(const ManifestFusion& item) {
  std::string text = item.op.text();
  for (const OperatorId& part : item.parts) text += " " + part.text();
  return text;
}
std::string text_of(const ManifestImplementation& item) {
  return item.op.text() + " " + item.device_kind + " " + item.name + " " +
         (item.isa.empty() ? "-" : item.isa);
}

template <class T>
Status compare_lists(std::vector<T> inside, std::vector<T> manifest, const char* what) {
  std::sort(inside.begin(), inside.end());
  std::sort(manifest.begin(), manifest.end());
  const auto [a, b] = std::mismatch(inside.begin(), inside.end(), manifest.begin(), manifest.end());
  if (a == inside.end() && b == manifest.end()) return {};
  if (b == manifest.end() || (a != inside.end() && *a < *b)) {
    return bad_input(std::string("the plugin holds ") + what + " '" + text_of(*a) +
                     "', its manifest does not");
  }
  return bad_input(std::string("the manifest says ") + what + " '" + text_of(*b) +
                   "', the plugin holds no such");
}

Status compare_value(const std::string& inside, const std::string& manifest, const char* what) {
  if (inside == manifest) return {};
  return bad_input(std::string("the manifest says ") + what + " '" + manifest +
                   "', the plugin says " + quote(inside));
}

std::string abi_text(std::uint32_t major, std::uint32_t minor) {
  return std::to_string(major) + "." + std::to_string(minor);
}

Status Content::compare(const Manifest& manifest) const {
  RT_RETURN_IF_ERROR(compare_value(plugin_.name, manifest.plugin, "plugin"));
  RT_RETURN_IF_ERROR(compare_value(plugin_.version, manifest.version, "version"));
  RT_RETURN_IF_ERROR(compare_value(abi_text(plugin_.abi_major, plugin_.abi_minor),
                                   abi_text(manifest.abi_major, manifest.abi_minor), "abi"));
  RT_RETURN_IF_ERROR(compare_value(abi_text(plugin_.abi_major, plugin_.min_host_minor),
                                   abi_text(manifest.abi_major, manifest.min_host_minor),
                                   "min_host"));
  RT_RETURN_IF_ERROR(compare_lists(schemas_, manifest.schemas, "schema"));
  RT_RETURN_IF_ERROR(compare_lists(fusions_, manifest.fusions, "fusion"));
  RT_RETURN_IF_ERROR(compare_lists(implementations_, manifest.implementations, "implementation"));
  RT_RETURN_IF_ERROR(compare_lists(planners_, manifest.planners, "planner"));
  return compare_lists(devices_, manifest.devices, "device");
}

}  // namespace

Status check_descriptor(const rt_plugin& plugin, const Manifest& manifest) {
  RT_RETURN_IF_ERROR(
      check_size(plugin.struct_size, RT_BYTES_THROUGH(rt_plugin, devices), "rt_plugin"));
  if (plugin.abi_major != RT_ABI_MAJOR || plugin.min_host_minor > RT_ABI_MINOR) {
    return bad_input("expected a plugin for ABI " + abi_text(RT_ABI_MAJOR, RT_ABI_MINOR) +
                     ", found " + abi_text(plugin.abi_major, plugin.abi_minor) +
                     " that needs at least " + abi_text(plugin.abi_major, plugin.min_host_minor));
  }
  RT_RETURN_IF_ERROR(check_name(plugin.name, is_name, "rt_plugin.name"));
  RT_RETURN_IF_ERROR(check_present(plugin.version != nullptr, "rt_plugin.version"));
  Content content(plugin);
  RT_RETURN_IF_ERROR(content.gather());
  RT_RETURN_IF_ERROR(content.check_references());
  return content.compare(manifest);
}

}  // namespace rt
