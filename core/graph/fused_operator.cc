#include "core/graph/fused_operator.h"

#include <algorithm>

#include "core/base/text.h"

namespace rt {
namespace {

std::string counts(std::size_t in, std::size_t out) {
  return std::to_string(in) + " inputs and " + std::to_string(out) + " outputs";
}

template <class T>
std::vector<const T*> pointers_to(const std::vector<T>& items) {
  std::vector<const T*> list;
  for (const T& item : items) list.push_back(&item);
  return list;
}

}  // namespace

Result<std::shared_ptr<const FusedOperator>> FusedOperator::make(const rt_fusion& fusion,
                                                                 const SchemaSet& schemas) {
  const std::string id = std::string(fusion.op) + "@" + std::to_string(fusion.version);
  RT_TRY(const FusionPattern pattern, parse_fusion_pattern(fusion.pattern, "pattern of " + id));
  std::shared_ptr<FusedOperator> out(new FusedOperator());
  out->op_ = fusion.op;
  out->names_ = pattern.in;
  for (const NodeDeclaration& node : pattern.nodes) {
    for (const NameUse& made : node.out) out->names_.push_back(made.name);
  }
  out->name_count_ = static_cast<std::uint32_t>(out->names_.size());
  RT_RETURN_IF_ERROR(out->add_parts(pattern, schemas));
  RT_RETURN_IF_ERROR(out->add_inputs(pattern));
  out->add_outputs(pattern);
  out->add_attrs();
  out->finish(fusion);
  return std::shared_ptr<const FusedOperator>(std::move(out));
}

std::uint32_t FusedOperator::number(const std::string& name) const {
  return static_cast<std::uint32_t>(std::find(names_.begin(), names_.end(), name) - names_.begin());
}

Status FusedOperator::add_parts(const FusionPattern& pattern, const SchemaSet& schemas) {
  std::uint32_t with_state = 0;
  for (const NodeDeclaration& node : pattern.nodes) {
    FusedPart part;
    part.schema = schemas.find(node.op, node.op_version);
    if (part.schema == nullptr) {
      return bad_input_at(node.where, "no loaded plugin declares the operator " +
                                          quote(operator_text(node)) +
                                          did_you_mean(node.op, schemas.ops()));
    }
    if (node.in.size() != part.schema->input_count ||
        node.out.size() != part.schema->output_count) {
      return bad_input_at(
          node.where, node.op + " has " +
                          counts(part.schema->input_count, part.schema->output_count) + ", found " +
                          counts(node.in.size(), node.out.size()));
    }
    for (const AttrDeclaration& attr : node.attrs) {
      const auto is_it = [&](const rt_attr_spec* spec) { return attr.name == spec->name; };
      const rt_attr_spec* const* const end = part.schema->attrs + part.schema->attr_count;
      if (std::find_if(part.schema->attrs, end, is_it) == end) {
        return bad_input_at(attr.where, node.op + " has no attribute " + quote(attr.name));
      }
    }
    for (const NameUse& use : node.in) part.inputs.push_back(number(use.name));
    for (const NameUse& made : node.out) part.outputs.push_back(number(made.name));
    part.attrs = node.attrs;
    part.name = node.out.front().name;
    with_state += part.schema->has_kv_state;
    if (with_state > 1) {
      return bad_input_at(node.where, "expected one node with KV state, found another");
    }
    parts_.push_back(std::move(part));
  }
  schema_.has_kv_state = with_state;
  return {};
}

// A port for each name under `in`: what all of its readers take.
Status FusedOperator::add_inputs(const FusionPattern& pattern) {
  if (pattern.in.size() > RT_MAX_PORTS || pattern.out.size() > RT_MAX_PORTS) {
    return bad_input("pattern of " + op_ + ": expected at most " + std::to_string(RT_MAX_PORTS) +
                     " inputs and outputs, found " + counts(pattern.in.size(), pattern.out.size()));
  }
  for (std::uint32_t i = 0; i < pattern.in.size(); ++i) {
    rt_port port{};
    for (const FusedPart& part : parts_) {
      for (std::uint32_t p = 0; p < part.inputs.size(); ++p) {
        if (part.inputs[p] != i) continue;
        const rt_port& read = *part.schema->inputs[p];
        const bool first = port.struct_size == 0;
        if (first) port = read;
        port.dtypes &= read.dtypes;
        if (port.kind == read.kind && port.rank == read.rank && port.dtypes != 0) continue;
        return bad_input("pattern of " + op_ + ": nothing fits all readers of " +
                         quote(pattern.in[i]) +
                         "; they differ in rank, element types or in taking a weight");
      }
    }
    port.struct_size = sizeof(rt_port);
    port.name = texts_.emplace_back(pattern.in[i]).c_str();
    input_ports_.push_back(port);
  }
  return {};
}

void FusedOperator::add_outputs(const FusionPattern& pattern) {
  for (const std::string& name : pattern.out) {
    const std::uint32_t wanted = number(name);
    outputs_.push_back(wanted);
    for (const FusedPart& part : parts_) {
      for (std::uint32_t o = 0; o < part.outputs.size(); ++o) {
        if (part.outputs[o] != wanted) continue;
        rt_port port = *part.schema->outputs[o];
        port.struct_size = sizeof(rt_port);
        port.name = texts_.emplace_back(name).c_str();
        output_ports_.push_back(port);
      }
    }
  }
}

void FusedOperator::add_attrs() {
  for (const FusedPart& part : parts_) {
    for (std::uint32_t a = 0; a < part.schema->attr_count; ++a) {
      rt_attr_spec spec = *part.schema->attrs[a];
      spec.struct_size = sizeof(rt_attr_spec);
      spec.name = texts_.emplace_back(part.name + "." + spec.name).c_str();
      attr_specs_.push_back(spec);
    }
  }
}

void FusedOperator::finish(const rt_fusion& fusion) {
  inputs_list_ = pointers_to(input_ports_);
  outputs_list_ = pointers_to(output_ports_);
  attrs_list_ = pointers_to(attr_specs_);
  schema_.struct_size = sizeof schema_;
  schema_.version = fusion.version;
  schema_.op = fusion.op;
  schema_.summary = fusion.summary;
  schema_.input_count = static_cast<std::uint32_t>(inputs_list_.size());
  schema_.output_count = static_cast<std::uint32_t>(outputs_list_.size());
  schema_.attr_count = static_cast<std::uint32_t>(attrs_list_.size());
  schema_.inputs = inputs_list_.data();
  schema_.outputs = outputs_list_.data();
  schema_.attrs = attrs_list_.data();
  for (const FusedPart& part : parts_) {
    schema_.tolerance_absolute += part.schema->tolerance_absolute;
    schema_.tolerance_relative += part.schema->tolerance_relative;
  }
}

}  // namespace rt
