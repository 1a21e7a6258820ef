// Weights of a graph: shapes, tensors of the checkpoint, slices of fused tensors, shared storage.
#include <algorithm>

#include "core/base/bytes.h"
#include "core/base/text.h"
#include "core/graph/expansion.h"

namespace rt {
namespace {

constexpr std::int64_t kLargestSize = 2147483647;
constexpr std::uint64_t kMostElements = std::uint64_t{1} << 48;  // 512 TiB of bf16

Result<TensorType> shape_of(const WeightDeclaration& declaration, rt_dtype dtype,
                            const Scope& scope) {
  TensorType type{dtype, static_cast<std::uint32_t>(declaration.shape.size()), {}};
  std::uint64_t elements = 1;
  for (std::size_t d = 0; d < declaration.shape.size(); ++d) {
    RT_TRY(type.shape[d], declaration.shape[d].evaluate_int(scope, 1, kLargestSize));
    if (!checked_mul(elements, static_cast<std::uint64_t>(type.shape[d]), &elements) ||
        elements > kMostElements) {
      return bad_input_at(declaration.where,
                          "weight " + quote(declaration.name) + " has more than 2^48 elements");
    }
  }
  return type;
}

Status set_rows(const WeightDeclaration& declaration, const Scope& scope, GraphWeight& weight) {
  weight.tensor_rows = weight.type.shape[0];
  if (!declaration.first_row.has_value()) return {};
  RT_TRY(weight.first_row, declaration.first_row->evaluate_int(scope, 0, kLargestSize));
  RT_TRY(const std::int64_t count, declaration.row_count->evaluate_int(scope, 1, kLargestSize));
  if (count == weight.type.shape[0]) return {};
  return bad_input_at(declaration.row_count->where(),
                      "weight " + quote(weight.name) + " is " + describe(weight.type) +
                          ", but 'rows' gives it " + std::to_string(count) + " rows");
}

// The weight that `declaration` shares its storage with, or kNone.
Result<std::uint32_t> alias_target(const Expansion& expansion, const NameTable& table,
                                   const WeightDeclaration& declaration, const Scope& scope,
                                   const GraphWeight& weight) {
  if (!declaration.alias_to.has_value()) return kNone;
  const auto refuse = [&](const std::string& message) {
    return bad_input_at(declaration.where, "weight " + quote(weight.name) + " is an alias of " +
                                               quote(*declaration.alias_to) + message);
  };
  NameTable visible = expansion.weights;
  visible.insert(table.begin(), table.end());
  const auto found = visible.find(*declaration.alias_to);
  if (found == visible.end() || !found->second.is_weight) {
    return refuse(", which is no weight declared above it" +
                  did_you_mean(*declaration.alias_to, names_of(visible)));
  }
  const GraphWeight& target = expansion.graph.weights[found->second.index];
  if (declaration.first_row.has_value() || target.first_row != 0) {
    return refuse("; slices of fused tensors cannot be shared");
  }
  if (target.type != weight.type) {
    return refuse(", but they are " + describe(weight.type) + " and " + describe(target.type));
  }
  if (declaration.alias_when.has_value()) {
    RT_TRY(const bool shared, declaration.alias_when->evaluate_bool(scope));
    if (!shared) return kNone;
  }
  return target.alias_of == kNone ? found->second.index : target.alias_of;
}

std::string rows_text(const GraphWeight& weight) {
  return "[" + std::to_string(weight.first_row) + ", " +
         std::to_string(weight.first_row + weight.type.shape[0]) + ")";
}

bool same_width(const TensorType& a, const TensorType& b) {
  return a.rank == b.rank && std::equal(a.shape.begin() + 1, a.shape.end(), b.shape.begin() + 1);
}

// The slices of one tensor, in order of their rows.
Status settle_tensor(std::vector<GraphWeight*>& slices) {
  std::int64_t next = 0;
  for (const GraphWeight* slice : slices) {
    if (slice->first_row != next) {
      return bad_input_at(slice->where,
                          "weight " + quote(slice->name) + " is rows " + rows_text(*slice) +
                              " of tensor " + quote(slice->tensor) + ", where row " +
                              std::to_string(next) +
                              " is the next one wanted: slices cover a tensor, each row once; a "
                              "weight that shares another's tensor says 'alias'");
    }
    if (!same_width(slice->type, slices[0]->type)) {
      return bad_input_at(
          slice->where, "weights " + quote(slice->name) + ", " + describe(slice->type) + ", and " +
                            quote(slices[0]->name) + ", " + describe(slices[0]->type) +
                            ", are slices of one tensor and differ in width");
    }
    next += slice->type.shape[0];
  }
  for (GraphWeight* slice : slices) slice->tensor_rows = next;
  return {};
}

}  // namespace

std::vector<std::string> names_of(const NameTable& table) {
  std::vector<std::string> names;
  for (const auto& [name, operand] : table) names.push_back(name);
  return names;
}

Status define(const Expansion& expansion, NameTable& table, const std::string& name,
              Operand operand, const YamlPosition& where) {
  if (expansion.weights.contains(name) || !table.emplace(name, operand).second) {
    return bad_input_at(where, quote(name) +
                                   " is already the name of a weight or value here; "
                                   "every value has its own");
  }
  return {};
}

Status add_weights(Expansion& expansion, const std::vector<WeightDeclaration>& declarations,
                   const std::string& prefix, const Scope& scope, NameTable& table) {
  for (const WeightDeclaration& declaration : declarations) {
    GraphWeight weight;
    weight.name = prefix + declaration.name;
    weight.where = declaration.where;
    RT_TRY(weight.type, shape_of(declaration, expansion.weight_dtype, scope));
    RT_TRY(weight.tensor, declaration.from.fill(scope));
    RT_RETURN_IF_ERROR(set_rows(declaration, scope, weight));
    RT_TRY(weight.alias_of, alias_target(expansion, table, declaration, scope, weight));
    const Operand operand{true, static_cast<std::uint32_t>(expansion.graph.weights.size())};
    RT_RETURN_IF_ERROR(define(expansion, table, declaration.name, operand, declaration.where));
    expansion.graph.weights.push_back(std::move(weight));
    if (expansion.graph.weights.size() > kMaxWeights) {
      return bad_input_at(declaration.where,
                          "more than " + std::to_string(kMaxWeights) + " weights");
    }
  }
  return {};
}

Status settle_slices(Graph& graph) {
  std::map<std::string, std::vector<GraphWeight*>, std::less<>> by_tensor;
  for (GraphWeight& weight : graph.weights) {
    if (weight.alias_of == kNone) by_tensor[weight.tensor].push_back(&weight);
  }
  for (auto& [tensor, slices] : by_tensor) {
    std::stable_sort(slices.begin(), slices.end(), [](const GraphWeight* a, const GraphWeight* b) {
      return a->first_row < b->first_row;
    });
    RT_RETURN_IF_ERROR(settle_tensor(slices));
  }
  return {};
}

}  // namespace rt
