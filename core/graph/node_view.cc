#include "core/graph/node_view.h"

namespace rt {
namespace {

rt_attr to_attr(const Attribute& attribute) {
  rt_attr out{};
  out.struct_size = sizeof out;
  out.type = attribute.type;
  out.name = attribute.name.c_str();
  out.i = attribute.i;
  out.f = attribute.f;
  out.s = attribute.type == RT_ATTR_STRING ? attribute.s.c_str() : nullptr;
  out.floats = attribute.floats.empty() ? nullptr : attribute.floats.data();
  out.count = attribute.floats.size();
  return out;
}

template <class T>
std::vector<const T*> pointers_to(const std::vector<T>& structs) {
  std::vector<const T*> pointers;
  pointers.reserve(structs.size());
  for (const T& one : structs) pointers.push_back(&one);
  return pointers;
}

}  // namespace

rt_tensor to_tensor(const TensorType& type) {
  rt_tensor out{};
  out.struct_size = sizeof out;
  out.dtype = type.dtype;
  out.rank = type.rank;
  for (std::size_t d = 0; d < RT_MAX_RANK; ++d) out.shape[d] = type.shape[d];
  return out;
}

NodeView::NodeView(const Graph& graph, const GraphNode& node, const NodeBinding& binding) {
  for (const Operand input : node.inputs) tensors_.push_back(to_tensor(graph.type_of(input)));
  if (binding.with_outputs) {
    for (const std::uint32_t output : node.outputs) {
      tensors_.push_back(to_tensor(graph.values[output].type));
    }
  }
  for (const Attribute& attribute : node.attrs) attrs_.push_back(to_attr(attribute));
  tensor_pointers_ = pointers_to(tensors_);
  attr_pointers_ = pointers_to(attrs_);

  node_.struct_size = sizeof node_;
  node_.op_version = node.op_version;
  node_.name = node.name.c_str();
  node_.op = node.op.c_str();
  node_.input_count = static_cast<std::uint32_t>(node.inputs.size());
  node_.output_count = static_cast<std::uint32_t>(node.outputs.size());
  node_.attr_count = static_cast<std::uint32_t>(node.attrs.size());
  node_.value_dtype = graph.value_dtype;
  node_.inputs = tensor_pointers_.data();
  node_.outputs = binding.with_outputs ? tensor_pointers_.data() + node.inputs.size() : nullptr;
  node_.attrs = attr_pointers_.data();
  node_.device = binding.device;
  node_.bounds = binding.bounds;
  node_.kv_dtype = node.kv_layer != kNone ? binding.kv_dtype : 0;
  node_.step_class = binding.step_class;
  node_.exact = binding.exact ? 1 : 0;
}

}  // namespace rt
