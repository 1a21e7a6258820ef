#include "core/plugin/descriptor.h"

#include <string.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/text.h"

namespace rt {
namespace {

// Bytes up to and including `field`: the size a struct had when `field` was its last one. Checks
// use the last field of ABI 0.1, so that a plugin stays acceptable when structs grow.
#define RT_BYTES_THROUGH(type, field) (offsetof(type, field) + sizeof(type::field))

constexpr std::uint32_t kKnownDtypes =
    RT_DTYPE_BIT(RT_F32) | RT_DTYPE_BIT(RT_BF16) | RT_DTYPE_BIT(RT_F16) | RT_DTYPE_BIT(RT_F64) |
    RT_DTYPE_BIT(RT_I32) | RT_DTYPE_BIT(RT_I64) | RT_DTYPE_BIT(RT_I8) | RT_DTYPE_BIT(RT_U8);

std::string or_null(const char* text) {
  return text == nullptr ? "NULL" : quote(text);
}

Status check_size(std::uint32_t found, std::size_t least, const char* what) {
  if (found >= least) return {};
  return bad_input(std::string("expected ") + what + ".struct_size of at least " +
                   std::to_string(least) + ", found " + std::to_string(found) +
                   "; set it to sizeof(" + what + ")");
}

Status check_name(const char* name, bool (*fits)(std::string_view), const char* what) {
  if (name != nullptr && fits({name, ::strnlen(name, kNameLimitBytes + 1)})) return {};
  return bad_input(std::string("expected ") + what + " to be a name of [a-z0-9_], found " +
                   or_null(name));
}

Status check_present(bool present, const char* what) {
  if (present) return {};
  return bad_input(std::string(what) + " is NULL");
}

Status check_zero(std::uint32_t reserved, const char* what) {
  if (reserved == 0) return {};
  return bad_input(std::string("expected ") + what + " to be 0, found " + std::to_string(reserved));
}

// An array of `count` pointers to structs, none NULL, none shorter than `least`.
template <class Struct>
Result<std::span<const Struct* const>> check_list(const Struct* const* list, std::uint32_t count,
                                                  std::uint32_t limit, std::size_t least,
                                                  const char* what) {
  if (count > limit) {
    return bad_input(std::string("expected at most ") + std::to_string(limit) + " of " + what +
                     ", found " + std::to_string(count));
  }
  if (count == 0) return std::span<const Struct* const>();
  RT_RETURN_IF_ERROR(check_present(list != nullptr, what));
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::string element = std::string(what) + "[" + std::to_string(i) + "]";
    RT_RETURN_IF_ERROR(check_present(list[i] != nullptr, element.c_str()));
    RT_RETURN_IF_ERROR(check_size(list[i]->struct_size, least, element.c_str()));
  }
  return std::span<const Struct* const>(list, count);
}

template <class Struct, class Key>
Status check_unique(std::span<const Struct* const> list, Key&& key, const char* what) {
  std::set<std::string> seen;
  for (const Struct* item : list) {
    if (const std::string name = key(*item); !seen.insert(name).second) {
      return bad_input(std::string("two ") + what + " are named '" + name + "'");
    }
  }
  return {};
}

// True if `word` is one of "a|b|c".
bool among(std::string_view word, std::string_view choices) {
  while (true) {
    const std::size_t bar = std::min(choices.find('|'), choices.size());
    if (choices.substr(0, bar) == word) return true;
    if (bar == choices.size()) return false;
    choices.remove_prefix(bar + 1);
  }
}

Status check_default(const rt_attr_spec& spec) {
  const double value =
      spec.type == RT_ATTR_FLOAT ? spec.default_f : static_cast<double>(spec.default_i);
  if (spec.type == RT_ATTR_INT || spec.type == RT_ATTR_FLOAT) {
    if (!(spec.minimum <= spec.maximum)) {
      return bad_input("its minimum " + std::to_string(spec.minimum) + " is above its maximum " +
                       std::to_string(spec.maximum));
    }
    if (spec.required == 0 && !(value >= spec.minimum && value <= spec.maximum)) {
      return bad_input("its default " + std::to_string(value) + " is outside [" +
                       std::to_string(spec.minimum) + ", " + std::to_string(spec.maximum) + "]");
    }
  }
  if (spec.type == RT_ATTR_BOOL && (value < 0 || value > 1)) {
    return bad_input("expected its default to be 0 or 1, found " + std::to_string(spec.default_i));
  }
  if (spec.type == RT_ATTR_STRING && spec.choices != nullptr && spec.required == 0) {
    const char* text = spec.default_s == nullptr ? "" : spec.default_s;
    if (!among(text, spec.choices)) {
      return bad_input("its default " + quote(text) + " is none of " + quote(spec.choices));
    }
  }
  return {};
}

Status check_attr_specs(const rt_attr_spec* const* list, std::uint32_t count, const char* what) {
  RT_TRY(const auto specs,
         check_list(list, count, kDescriptorCountLimit, RT_BYTES_THROUGH(rt_attr_spec, doc), what));
  for (const rt_attr_spec* spec : specs) {
    RT_RETURN_IF_ERROR(check_name(spec->name, is_name, what));
    const std::string where = std::string("attribute '") + spec->name + "'";
    if (spec->type < RT_ATTR_INT || spec->type > RT_ATTR_FLOATS || spec->required > 1) {
      return bad_input(where + ": expected a known type and required 0 or 1, found type " +
                       std::to_string(spec->type) + ", required " + std::to_string(spec->required));
    }
    if (Status status = check_zero(spec->reserved, "reserved"); !status.ok()) {
      return in(where, std::move(status).error());
    }
    if (Status status = check_default(*spec); !status.ok()) {
      return in(where, std::move(status).error());
    }
  }
  return check_unique(
      specs, [](const rt_attr_spec& spec) { return std::string(spec.name); }, "attributes");
}

Status check_ports(const rt_port* const* list, std::uint32_t count, bool outputs,
                   const char* what) {
  RT_TRY(const auto ports,
         check_list(list, count, RT_MAX_PORTS, RT_BYTES_THROUGH(rt_port, shape), what));
  for (const rt_port* port : ports) {
    RT_RETURN_IF_ERROR(check_name(port->name, is_name, what));
    const bool kind_fits =
        port->kind == RT_PORT_VALUE || (port->kind == RT_PORT_WEIGHT && !outputs);
    if (!kind_fits || port->dtypes == 0 || (port->dtypes & ~kKnownDtypes) != 0 ||
        port->rank > RT_MAX_RANK) {
      return bad_input(std::string("port '") + port->name +
                       "': expected a value (or, of an input, a weight), known element types and "
                       "a rank of at most 4, found kind " +
                       std::to_string(port->kind) + ", types " + std::to_string(port->dtypes) +
                       ", rank " + std::to_string(port->rank));
    }
  }
  return check_unique(
      ports, [](const rt_port& port) { return std::string(port.name); }, what);
}

std::string id_text(const char* op, std::uint32_t version) {
  return OperatorId{op, version}.text();
}

Status check_schema_body(const rt_schema& schema) {
  RT_RETURN_IF_ERROR(check_present(schema.summary != nullptr, "summary"));
  RT_RETURN_IF_ERROR(check_present(schema.infer != nullptr, "infer"));
  RT_RETURN_IF_ERROR(check_ports(schema.inputs, schema.input_count, false, "inputs"));
  RT_RETURN_IF_ERROR(check_ports(schema.outputs, schema.output_count, true, "outputs"));
  RT_RETURN_IF_ERROR(check_attr_specs(schema.attrs, schema.attr_count, "attrs"));
  if (schema.version == 0 || schema.output_count == 0 || schema.has_kv_state > 1) {
    return bad_input("expected version >= 1, an output, and has_kv_state 0 or 1, found " +
                     std::to_string(schema.version) + ", " + std::to_string(schema.output_count) +
                     " outputs, " + std::to_string(schema.has_kv_state));
  }
  const double absolute = schema.tolerance_absolute;
  const double relative = schema.tolerance_relative;
  if (!(absolute >= 0 && relative >= 0) || std::isinf(absolute) || std::isinf(relative)) {
    return bad_input("expected tolerances to be finite and not negative, found " +
                     std::to_string(absolute) + " and " + std::to_string(relative));
  }
  return {};
}

Status check_implementation_body(const rt_implementation& item) {
  RT_RETURN_IF_ERROR(check_name(item.name, is_name, "name"));
  RT_RETURN_IF_ERROR(check_name(item.device_kind, is_name, "device_kind"));
  if (item.isa == nullptr || !is_isa_list({item.isa, ::strnlen(item.isa, 4096)})) {
    return bad_input("expected isa like \"avx2,fma\", or \"\" for the baseline, found " +
                     or_null(item.isa));
  }
  const std::uint32_t both = RT_STEP_DECODE | RT_STEP_PREFILL;
  if (item.op_version == 0 || (item.step_classes & both) == 0) {
    return bad_input("expected op_version >= 1 and a step class, found " +
                     std::to_string(item.op_version) + " and " + std::to_string(item.step_classes));
  }
  RT_RETURN_IF_ERROR(check_zero(item.reserved, "reserved"));
  RT_RETURN_IF_ERROR(check_present(item.create != nullptr, "create"));
  RT_RETURN_IF_ERROR(check_present(item.execute != nullptr, "execute"));
  return check_present(item.destroy != nullptr, "destroy");
}

Status check_planner_body(const rt_planner& planner) {
  RT_RETURN_IF_ERROR(check_present(planner.summary != nullptr, "summary"));
  RT_RETURN_IF_ERROR(check_present(planner.plan != nullptr, "plan"));
  RT_RETURN_IF_ERROR(check_present(planner.capacity != nullptr, "capacity"));
  return check_attr_specs(planner.options, planner.option_count, "options");
}

// Functions that come together: all of them or none.
Status check_group(std::initializer_list<bool> present, const char* names) {
  const auto there = std::count(present.begin(), present.end(), true);
  if (there == 0 || there == static_cast<std::ptrdiff_t>(present.size())) return {};
  return bad_input(std::string("expected all or none of ") + names);
}

Status check_device_body(const rt_device& device) {
  RT_RETURN_IF_ERROR(check_present(device.summary != nullptr, "summary"));
  RT_RETURN_IF_ERROR(check_zero(device.reserved | device.reserved2, "reserved"));
  const bool basics = device.count && device.describe && device.open && device.close &&
                      device.allocate && device.release && device.stream_create &&
                      device.stream_destroy && device.synchronize && device.upload &&
                      device.download && device.copy;
  if (!basics) {
    return bad_input(
        "count, describe, open, close, allocate, release, stream_create, stream_destroy, "
        "synchronize, upload, download or copy is NULL");
  }
  RT_RETURN_IF_ERROR(check_group({device.reserve != nullptr, device.unreserve != nullptr,
                                  device.commit != nullptr, device.decommit != nullptr},
                                 "reserve, unreserve, commit, decommit"));
  RT_RETURN_IF_ERROR(check_group({device.capture_begin != nullptr, device.capture_end != nullptr,
                                  device.replay != nullptr, device.graph_destroy != nullptr},
                                 "capture_begin, capture_end, replay, graph_destroy"));
  return check_attr_specs(device.options, device.option_count, "options");
}

// What the manifest should say, gathered from the descriptor.
class Content {
 public:
  explicit Content(const rt_plugin& plugin) : plugin_(plugin) {}

  Status gather() {
    RT_RETURN_IF_ERROR(gather_schemas());
    RT_RETURN_IF_ERROR(gather_implementations());
    RT_RETURN_IF_ERROR(gather_planners());
    return gather_devices();
  }
  Status check_references() const;
  Status compare(const Manifest& manifest) const;

 private:
  Status gather_schemas();
  Status gather_implementations();
  Status gather_planners();
  Status gather_devices();

  const rt_plugin& plugin_;
  std::vector<OperatorId> schemas_;
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
    if (Status status = check_schema_body(*schema); !status.ok()) {
      return in("schema " + id_text(schema->op, schema->version), std::move(status).error());
    }
    schemas_.push_back({schema->op, schema->version});
  }
  return check_unique(
      schemas, [](const rt_schema& item) { return id_text(item.op, item.version); }, "schemas");
}

Status Content::gather_implementations() {
  RT_TRY(const auto items,
         check_list(plugin_.implementations, plugin_.implementation_count, kDescriptorCountLimit,
                    RT_BYTES_THROUGH(rt_implementation, destroy), "implementations"));
  for (const rt_implementation* item : items) {
    RT_RETURN_IF_ERROR(check_name(item->op, is_operator_name, "implementation.op"));
    if (Status status = check_implementation_body(*item); !status.ok()) {
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
    if (Status status = check_planner_body(*planner); !status.ok()) {
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
    if (Status status = check_device_body(*device); !status.ok()) {
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
