#include "core/graph/infer.h"

#include "core/base/log.h"
#include "core/base/text.h"
#include "core/graph/node_view.h"

namespace rt {
namespace {

constexpr std::int64_t kLargestSize = std::int64_t{1} << 40;

// What the running infer said through host->fail.
thread_local std::string refusal;

rt_status record_refusal(const rt_host*, rt_status code, const char* message) {
  refusal = message != nullptr ? message : "";
  return code;
}

void pass_log(const rt_host*, rt_log_level level, const char* message) {
  log(level, message);
}

const void* no_extension(const rt_host*, const char*) {
  return nullptr;
}

constexpr rt_host kHost = {sizeof(rt_host), RT_ABI_MAJOR, RT_ABI_MINOR, 0,
                           record_refusal,  pass_log,     no_extension};

std::string names_of(std::uint32_t dtypes) {
  std::vector<std::string> names;
  for (rt_dtype dtype = RT_F32; dtype <= RT_W_NF4_DQ; ++dtype) {
    if ((dtypes & RT_DTYPE_BIT(dtype)) != 0) names.push_back(dtype_name(dtype));
  }
  return join(names, " or ");
}

bool allows(const rt_port& port, rt_dtype dtype) {
  return dtype < 32 && (port.dtypes & RT_DTYPE_BIT(dtype)) != 0;
}

Status check_output(const GraphNode& node, std::uint32_t o, const TensorType& type) {
  const rt_port& port = *node.schema->outputs[o];
  bool fair = allows(port, type.dtype) && type.rank == port.rank && type.rank <= RT_MAX_RANK;
  for (std::uint32_t d = 0; fair && d < type.rank; ++d) {
    const std::int64_t size = type.shape[d];
    const bool symbol = d == 0 && (size == RT_DIM_TOKENS || size == RT_DIM_ROWS);
    fair = symbol || (size >= 1 && size <= kLargestSize);
  }
  if (fair) return {};
  const std::string found =
      type.rank <= RT_MAX_RANK ? describe(type) : "rank " + std::to_string(type.rank);
  return node_error(node, "the schema of " + quote(node.op) + " gave output " + quote(port.name) +
                              " no sound type: " + found + "; expected rank " +
                              std::to_string(port.rank) + " and sizes from 1 to " +
                              std::to_string(kLargestSize) +
                              " of an element type that the port allows; its plugin is at fault");
}

}  // namespace

Error node_error(const GraphNode& node, const std::string& message) {
  return bad_input_at(node.where, "node " + quote(node.name) + ": " + message);
}

Status check_inputs(const Graph& graph, const GraphNode& node) {
  const rt_schema& schema = *node.schema;
  if (node.inputs.size() != schema.input_count || node.outputs.size() != schema.output_count) {
    const auto shape = [](std::size_t in, std::size_t out) {
      return std::to_string(in) + " inputs and " + std::to_string(out) + " outputs";
    };
    return node_error(node, node.op + " has " + shape(schema.input_count, schema.output_count) +
                                ", found " + shape(node.inputs.size(), node.outputs.size()));
  }
  for (std::uint32_t i = 0; i < schema.input_count; ++i) {
    const rt_port& port = *schema.inputs[i];
    const Operand operand = node.inputs[i];
    const TensorType& type = graph.type_of(operand);
    const std::string& name =
        operand.is_weight ? graph.weights[operand.index].name : graph.values[operand.index].name;
    const std::string found =
        (operand.is_weight ? "the weight " : "the value ") + quote(name) + ", " + describe(type);
    const std::string input = "input " + std::to_string(i) + " (" + port.name + ", " +
                              (port.shape != nullptr ? port.shape : "") + ") expects ";
    if (operand.is_weight != (port.kind == RT_PORT_WEIGHT)) {
      return node_error(node,
                        input + (operand.is_weight ? "a value" : "a weight") + ", found " + found);
    }
    if (!allows(port, type.dtype)) {
      return node_error(node, input + names_of(port.dtypes) + ", found " + found);
    }
    if (type.rank != port.rank) {
      return node_error(node, input + "rank " + std::to_string(port.rank) + ", found " + found);
    }
  }
  return {};
}

Result<std::vector<TensorType>> infer_outputs(const Graph& graph, const GraphNode& node) {
  NodeBinding binding;
  binding.with_outputs = false;
  const NodeView view(graph, node, binding);
  std::vector<rt_tensor> outputs(node.schema->output_count, to_tensor({}));
  std::vector<rt_tensor*> pointers;
  for (rt_tensor& output : outputs) pointers.push_back(&output);
  refusal.clear();
  rt_status status = RT_INTERNAL;
  try {
    status = node.schema->infer(&kHost, view.get(), pointers.data());
  } catch (...) {  // nothing may be thrown across the boundary; a stranger's schema might
    refusal = "the schema of " + quote(node.op) + " threw an exception";
  }
  if (status != RT_OK) {
    return node_error(node, refusal.empty()
                                ? "the schema of " + quote(node.op) + " refuses it with status " +
                                      std::to_string(status) + " and no reason"
                                : refusal);
  }
  std::vector<TensorType> types;
  for (std::uint32_t o = 0; o < outputs.size(); ++o) {
    TensorType type{outputs[o].dtype, outputs[o].rank, {}};
    for (std::uint32_t d = 0; d < std::min<std::uint32_t>(type.rank, RT_MAX_RANK); ++d) {
      type.shape[d] = outputs[o].shape[d];
    }
    RT_RETURN_IF_ERROR(check_output(node, o, type));
    types.push_back(type);
  }
  return types;
}

}  // namespace rt
