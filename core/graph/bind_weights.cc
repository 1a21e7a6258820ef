#include "core/graph/bind_weights.h"

#include <algorithm>
#include <unordered_map>

#include "core/base/text.h"
#include "core/graph/infer.h"

namespace rt {
namespace {

constexpr std::size_t kNamesShown = 8;

// `*` in the pattern stands for any run of characters. Linear in practice: one way back only.
bool matches(std::string_view text, std::string_view pattern) {
  std::size_t t = 0;
  std::size_t p = 0;
  std::size_t star = std::string_view::npos;
  std::size_t resume = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = t;
    } else if (p < pattern.size() && pattern[p] == text[t]) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

std::string shape_text(std::span<const std::uint64_t> shape) {
  std::string out = "[";
  for (std::size_t d = 0; d < shape.size(); ++d) {
    out += (d > 0 ? ", " : "") + std::to_string(shape[d]);
  }
  return out + "]";
}

class Binder {
 public:
  Binder(const Graph& graph, std::span<const NamedTensor> tensors, const std::string& where)
      : graph_(graph), tensors_(tensors), where_(where), weights_(graph.weights) {}

  Result<std::vector<GraphWeight>> run() {
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
      if (!by_name_.emplace(tensors_[i].name, static_cast<std::uint32_t>(i)).second) {
        return bad_input(where_ + ": two tensors are named " + quote(tensors_[i].name));
      }
    }
    share();
    RT_RETURN_IF_ERROR(check_names());
    for (GraphWeight& weight : weights_) RT_RETURN_IF_ERROR(bind(weight));
    for (GraphWeight& weight : weights_) {
      if (weight.alias_of == kNone) continue;
      weight.type = weights_[weight.alias_of].type;
      weight.checkpoint_index = weights_[weight.alias_of].checkpoint_index;
    }
    return std::move(weights_);
  }

 private:
  bool has(const std::string& tensor) const { return by_name_.contains(tensor); }

  // Settles who shares: an alias whose own tensor is there reads that, unless the weight it is an
  // alias of has none; then that tensor serves both.
  void share() {
    for (GraphWeight& weight : weights_) {
      if (weight.alias_of == kNone || !has(weight.tensor)) continue;
      GraphWeight& target = weights_[weight.alias_of];
      if (!has(target.tensor)) target.tensor = weight.tensor;
      if (target.tensor != weight.tensor) weight.alias_of = kNone;
    }
  }

  Status check_names() {
    std::vector<bool> used(tensors_.size(), false);
    std::vector<std::string> missing;
    for (const GraphWeight& weight : weights_) {
      if (weight.alias_of != kNone) continue;
      const auto found = by_name_.find(weight.tensor);
      if (found != by_name_.end()) {
        used[found->second] = true;
      } else if (missing.empty() || missing.back() != weight.tensor) {
        missing.push_back(weight.tensor);  // the slices of one tensor stand side by side
      }
    }
    std::vector<std::string> unused;
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
      if (!used[i] && !is_ignored(tensors_[i].name)) unused.push_back(tensors_[i].name);
    }
    if (missing.empty() && unused.empty()) return {};
    std::string message;
    if (!missing.empty()) {
      message = list(missing, unused, "that the graph reads are not there: ");
    }
    if (!unused.empty()) {
      message += (message.empty() ? "" : "; ") +
                 list(unused, missing, "are neither read by the graph nor under its 'ignore': ");
    }
    return bad_input(where_ + ": " + message +
                     "; was the checkpoint made for another graph or config?");
  }

  bool is_ignored(const std::string& name) const {
    return std::any_of(graph_.ignore.begin(), graph_.ignore.end(),
                       [&](const std::string& pattern) { return matches(name, pattern); });
  }

  // "3 tensors <what>'a' (nearest: 'b'), ...".
  static std::string list(const std::vector<std::string>& names,
                          const std::vector<std::string>& others, const std::string& what) {
    std::vector<std::string> shown;
    for (const std::string& name : names) {
      if (shown.size() == kNamesShown) {
        shown.emplace_back("...");
        break;
      }
      const std::string neighbour = nearest(name, others);
      shown.push_back(quote(name) +
                      (neighbour.empty() ? "" : " (nearest: " + quote(neighbour) + ")"));
    }
    return std::to_string(names.size()) + " tensor" + (names.size() == 1 ? " " : "s ") + what +
           join(shown, ", ");
  }

  Status bind(GraphWeight& weight) {
    if (weight.alias_of != kNone) return {};
    weight.checkpoint_index = by_name_.at(weight.tensor);
    const NamedTensor& tensor = tensors_[weight.checkpoint_index];
    std::vector<std::uint64_t> wanted;
    for (std::uint32_t d = 0; d < weight.type.rank; ++d) {
      wanted.push_back(
          static_cast<std::uint64_t>(d == 0 ? weight.tensor_rows : weight.type.shape[d]));
    }
    const std::string dtype = tensor.dtype != 0 ? dtype_name(tensor.dtype) : tensor.dtype_name;
    const std::string found =
        where_ + ": tensor " + quote(tensor.name) + " is " + dtype + shape_text(tensor.shape);
    if (tensor.shape != wanted) {
      return bad_input(
          found + ", the graph wants " + dtype + shape_text(wanted) +
          (weight.type.shape[0] == weight.tensor_rows ? "" : " (several weights fused)") +
          "; was the checkpoint made for another config?");
    }
    if (tensor.dtype == 0) {
      return bad_input(found + "; this program reads no " + dtype + " (weight " +
                       quote(weight.name) + ")");
    }
    weight.type.dtype = tensor.dtype;
    return {};
  }

  const Graph& graph_;
  std::span<const NamedTensor> tensors_;
  const std::string& where_;
  std::vector<GraphWeight> weights_;
  std::unordered_map<std::string, std::uint32_t> by_name_;
};

// The element types are the file's now: does every reader take them, and are values what they were?
Status check_readers(const Graph& graph, const std::string& where) {
  for (const GraphNode& node : graph.nodes) {
    const bool reads_weight = std::any_of(node.inputs.begin(), node.inputs.end(),
                                          [](Operand operand) { return operand.is_weight; });
    if (!reads_weight) continue;
    if (Status fair = check_inputs(graph, node); !fair.ok()) return in(where, fair.error());
    const Result<std::vector<TensorType>> types = infer_outputs(graph, node);
    if (!types.ok()) return in(where, types.error());
    for (std::size_t o = 0; o < node.outputs.size(); ++o) {
      const TensorType& planned = graph.values[node.outputs[o]].type;
      if (types.value()[o] == planned) continue;
      return in(where, node_error(node, "its output was planned as " + describe(planned) +
                                            " and is " + describe(types.value()[o]) +
                                            " with the checkpoint's element types"));
    }
  }
  return {};
}

}  // namespace

Status bind_checkpoint(Graph& graph, std::span<const NamedTensor> tensors,
                       const std::string& where) {
  RT_TRY(std::vector<GraphWeight> weights, Binder(graph, tensors, where).run());
  weights.swap(graph.weights);
  Status fair = check_readers(graph, where);
  if (!fair.ok()) weights.swap(graph.weights);
  return fair;
}

}  // namespace rt
