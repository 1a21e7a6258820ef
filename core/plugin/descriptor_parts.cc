#include "core/plugin/descriptor_parts.h"

#include <string.h>

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <limits>

#include "core/base/attribute_spec.h"
#include "core/base/text.h"
#include "core/plugin/descriptor.h"
#include "core/plugin/manifest.h"

namespace rt {
namespace {

std::string or_null(const char* text) {
  return text == nullptr ? "NULL" : quote(text);
}

constexpr std::uint32_t kKnownDtypes =
    RT_DTYPE_BIT(RT_F32) | RT_DTYPE_BIT(RT_BF16) | RT_DTYPE_BIT(RT_F16) | RT_DTYPE_BIT(RT_F64) |
    RT_DTYPE_BIT(RT_I32) | RT_DTYPE_BIT(RT_I64) | RT_DTYPE_BIT(RT_I8) | RT_DTYPE_BIT(RT_U8);
constexpr std::uint32_t kWeightDtypes =
    kKnownDtypes | RT_DTYPE_BIT(RT_W_INT8) | RT_DTYPE_BIT(RT_W_NF4) | RT_DTYPE_BIT(RT_W_NF4_DQ);

Status check_number_default(const rt_attr_spec& spec) {
  if (!(spec.minimum <= spec.maximum)) {
    return bad_input("its minimum " + std::to_string(spec.minimum) + " is above its maximum " +
                     std::to_string(spec.maximum));
  }
  const double value =
      spec.type == RT_ATTR_FLOAT ? spec.default_f : static_cast<double>(spec.default_i);
  if (spec.required != 0 || in_range(spec, value)) return {};
  return bad_input("its default " + std::to_string(value) + " is outside [" +
                   std::to_string(spec.minimum) + ", " + std::to_string(spec.maximum) + "]");
}

Status check_default(const rt_attr_spec& spec) {
  if (spec.type == RT_ATTR_INT || spec.type == RT_ATTR_FLOAT) return check_number_default(spec);
  if (spec.type == RT_ATTR_BOOL && (spec.default_i < 0 || spec.default_i > 1)) {
    return bad_input("expected its default to be 0 or 1, found " + std::to_string(spec.default_i));
  }
  AttributeValue value = default_of(spec);
  if (spec.type == RT_ATTR_STRING && spec.required == 0 && !allows(spec, value)) {
    return bad_input("its default " + quote(std::get<std::string>(value)) + " is none of " +
                     quote(spec.choices));
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
    const std::uint32_t known = port->kind == RT_PORT_WEIGHT ? kWeightDtypes : kKnownDtypes;
    if (!kind_fits || port->dtypes == 0 || (port->dtypes & ~known) != 0 ||
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

// Functions that come together: all of them or none.
Status check_group(std::initializer_list<bool> present, const char* names) {
  const auto there = std::count(present.begin(), present.end(), true);
  if (there == 0 || there == static_cast<std::ptrdiff_t>(present.size())) return {};
  return bad_input(std::string("expected all or none of ") + names);
}

}  // namespace

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

Status check_zero(std::uint32_t reserved, const char* what) {
  if (reserved == 0) return {};
  return bad_input(std::string("expected ") + what + " to be 0, found " + std::to_string(reserved));
}

Status check_present(bool present, const char* what) {
  if (present) return {};
  return bad_input(std::string(what) + " is NULL");
}

Status check_schema(const rt_schema& schema) {
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

Status check_fusion(const rt_fusion& fusion) {
  RT_RETURN_IF_ERROR(check_present(fusion.summary != nullptr, "summary"));
  RT_RETURN_IF_ERROR(check_present(fusion.pattern != nullptr, "pattern"));
  if (fusion.version > 0) return {};
  return bad_input("expected version >= 1, found 0");
}

Status check_implementation(const rt_implementation& item) {
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
  if ((item.weight_dtypes & ~kWeightDtypes) != 0) {
    return bad_input("weight_dtypes: expected known element types, found the mask " +
                     std::to_string(item.weight_dtypes));
  }
  RT_RETURN_IF_ERROR(check_present(item.create != nullptr, "create"));
  RT_RETURN_IF_ERROR(check_present(item.execute != nullptr, "execute"));
  return check_present(item.destroy != nullptr, "destroy");
}

Status check_planner(const rt_planner& planner) {
  RT_RETURN_IF_ERROR(check_present(planner.summary != nullptr, "summary"));
  RT_RETURN_IF_ERROR(check_present(planner.plan != nullptr, "plan"));
  RT_RETURN_IF_ERROR(check_present(planner.capacity != nullptr, "capacity"));
  return check_attr_specs(planner.options, planner.option_count, "options");
}

Status check_device(const rt_device& device) {
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
  if (RT_HAS(&device, download_end)) {
    RT_RETURN_IF_ERROR(
        check_group({device.download_begin != nullptr, device.download_end != nullptr},
                    "download_begin, download_end"));
  }
  return check_attr_specs(device.options, device.option_count, "options");
}

}  // namespace rt
