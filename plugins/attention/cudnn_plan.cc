#include "plugins/attention/cudnn_plan.h"

#include <array>
#include <deque>
#include <limits>

namespace rt::cuda::cudnn {
namespace {

using Sizes = std::array<std::int64_t, 4>;  // batch, head, row, column

enum Id : std::int64_t {
  kQ = 1,
  kK,
  kV,
  kOut,
  kScale,
  kMasked,
  kKeys,
  kQueries,
  kWindowShift,
  kFirstVirtual
};

struct Tensor {
  const Descriptor* descriptor;
  DataType type;
  Sizes sizes;
};

constexpr std::int64_t kAlignmentBytes = 16;
constexpr int kNotSupported = 3000;

}  // namespace

// The order of nodes and operands is that in which the library knows its own attention: it matches
// patterns.
struct AttentionPlan::Graph {
  Graph(const AttentionProblem& problem, const Target& wanted)
      : p(problem), target(wanted), operations(Kind::kGraph) {
    const DataType io = p.element == Element::kBf16 ? kBfloat16 : kHalf;
    const Tensor q = rows(kQ, io, p.heads, p.queries);
    const Tensor k_transposed =
        tensor(kK, io, {1, p.kv_heads, p.head_width, p.keys},
               {p.keys * p.kv_heads * p.head_width, p.head_width, 1, p.kv_heads * p.head_width});
    const Tensor v = rows(kV, io, p.kv_heads, p.keys);
    const Tensor out = rows(kOut, io, p.heads, p.queries);

    Tensor scores = inner(kFloat, p.keys);
    matmul(q, k_transposed, scores);
    scores = pointwise(kMul, kFloat, scores, scalar(kScale, kFloat));
    scores = mask(scores);
    const Tensor largest = reduce(kMax, scores);
    const Tensor weights = pointwise(kExp, kFloat, pointwise(kSub, kFloat, scores, largest));
    const Tensor total = reduce(kSum, weights);
    const Tensor probabilities = inner(io, p.keys);
    pointwise_into(kDiv, kFloat, weights, &total, nullptr, probabilities);
    matmul(probabilities, v, out);

    std::vector<void*> all;
    for (const Descriptor& node : nodes) all.push_back(node.raw());
    if (target.handle != nullptr) operations.set_handle(kGraphHandle, target.handle);
    operations.set(kGraphOperations, Type::kDescriptor, static_cast<std::int64_t>(all.size()),
                   all.data());
    operations.finalize("attention's graph");
  }

  // Keys after the query's position, and before its window, get the lowest score.
  Tensor mask(const Tensor& scores) {
    const Tensor lowest = scalar(kMasked, kFloat);
    Tensor row = index(scores, 2);
    const Tensor column = index(scores, 3);
    row = pointwise(kAdd, kInt32, row, scalar(kKeys, kInt32));
    row = pointwise(kSub, kInt32, row, scalar(kQueries, kInt32));
    Tensor seen = pointwise(kGreaterEqual, kBoolean, row, column);
    Tensor out = select(scores, lowest, seen);
    if (p.window == 0) return out;
    const Tensor first = index(out, 2);
    const Tensor shifted = pointwise(kAdd, kFloat, index(out, 3), scalar(kWindowShift, kFloat));
    seen = pointwise(kGreater, kBoolean, shifted, first);
    return select(out, scalar(kMasked, kFloat), seen);
  }

  Tensor tensor(std::int64_t id, DataType type, const Sizes& sizes, const Sizes& strides) {
    Descriptor& d = tensors.emplace_back(Kind::kTensor);
    d.set_integer(kTensorId, id)
        .set(kTensorType, Type::kDataType, type)
        .set(kTensorDimensions, Type::kInt64, 4, sizes.data())
        .set(kTensorStrides, Type::kInt64, 4, strides.data())
        .set_integer(kTensorAlignment, kAlignmentBytes)
        .set_boolean(kTensorIsVirtual, id >= kFirstVirtual)
        .set_boolean(kTensorIsByValue, id >= kScale && id < kFirstVirtual);
    d.finalize("tensor");
    return {&d, type, sizes};
  }
  Tensor rows(std::int64_t id, DataType type, std::int64_t heads, std::int64_t count) {
    const std::int64_t width = heads * p.head_width;
    return tensor(id, type, {1, heads, count, p.head_width},
                  {count * width, p.head_width, width, 1});
  }
  Tensor inner(DataType type, std::int64_t columns) {
    return tensor(next_virtual++, type, {1, p.heads, p.queries, columns},
                  {p.heads * p.queries * columns, p.queries * columns, columns, 1});
  }
  Tensor scalar(Id id, DataType type) {
    for (const auto& [known, tensor] : scalars) {
      if (known == id) return tensor;
    }
    scalars.emplace_back(id, tensor(id, type, {1, 1, 1, 1}, {1, 1, 1, 1}));
    return scalars.back().second;
  }

  void matmul(const Tensor& a, const Tensor& b, const Tensor& c) {
    Descriptor& how = parts.emplace_back(Kind::kMatmul);
    how.set(kMatmulPrecision, Type::kDataType, kFloat).finalize("product");
    Descriptor& node = nodes.emplace_back(Kind::kMatmulOperation);
    node.refer(kOperationMatmulA, *a.descriptor)
        .refer(kOperationMatmulB, *b.descriptor)
        .refer(kOperationMatmulC, *c.descriptor)
        .refer(kOperationMatmul, how)
        .finalize("product's operation");
  }

  Tensor reduce(Reduce what, const Tensor& x) {
    const Tensor out = inner(kFloat, 1);
    Descriptor& how = parts.emplace_back(Kind::kReduction);
    how.set(kReductionPrecision, Type::kDataType, kFloat)
        .set(kReductionOperator, Type::kReductionOperator, what)
        .finalize("reduction");
    Descriptor& node = nodes.emplace_back(Kind::kReductionOperation);
    node.refer(kOperationReduction, how)
        .refer(kOperationReductionX, *x.descriptor)
        .refer(kOperationReductionY, *out.descriptor)
        .finalize("reduction's operation");
    return out;
  }

  void pointwise_into(Mode mode, DataType precision, const Tensor& x, const Tensor* b,
                      const Tensor* t, const Tensor& y, std::int64_t axis = -1) {
    Descriptor& how = parts.emplace_back(Kind::kPointwise);
    how.set(kPointwiseMode, Type::kPointwiseMode, mode)
        .set(kPointwisePrecision, Type::kDataType, precision);
    if (axis >= 0) how.set_integer(kPointwiseAxis, axis);
    how.finalize("function");
    Descriptor& node = nodes.emplace_back(Kind::kPointwiseOperation);
    node.refer(kOperationPointwise, how).refer(kOperationPointwiseX, *x.descriptor);
    if (b != nullptr) node.refer(kOperationPointwiseB, *b->descriptor);
    if (t != nullptr) node.refer(kOperationPointwiseT, *t->descriptor);
    node.refer(kOperationPointwiseY, *y.descriptor).finalize("function's operation");
  }
  Tensor pointwise(Mode mode, DataType type, const Tensor& x) {
    const Tensor y = inner(type, x.sizes[3]);
    pointwise_into(mode, type, x, nullptr, nullptr, y);
    return y;
  }
  Tensor pointwise(Mode mode, DataType type, const Tensor& x, const Tensor& b) {
    const Tensor y = inner(type, x.sizes[3]);
    pointwise_into(mode, type, x, &b, nullptr, y);
    return y;
  }
  Tensor index(const Tensor& like, std::int64_t axis) {
    const Tensor y = inner(kInt32, p.keys);
    pointwise_into(kIndex, kFloat, like, nullptr, nullptr, y, axis);
    return y;
  }
  Tensor select(const Tensor& yes, const Tensor& no, const Tensor& condition) {
    const Tensor y = inner(kFloat, p.keys);
    pointwise_into(kSelect, kFloat, yes, &no, &condition, y);
    return y;
  }

  // The library's first choice that keeps to the workspace, or the first that it would fall back
  // to.
  void choose() {
    try {
      choose(kHeuristicModeA);
    } catch (const LaunchError& refusal) {
      if (!choose_fallback()) throw refusal;
    }
  }
  bool choose_fallback() {
    try {
      choose(kHeuristicModeFallback);
    } catch (const LaunchError&) {
      return false;
    }
    return true;
  }

  void choose(int mode) {
    Descriptor heuristic(Kind::kEngineHeuristic);
    heuristic.refer(kHeuristicGraph, operations).set(kHeuristicMode, Type::kHeuristicMode, mode);
    if (target.device != nullptr) heuristic.refer(kHeuristicDevice, *target.device);
    heuristic.finalize("heuristic");
    constexpr std::int64_t kMostConfigs = 8;
    configs.clear();
    std::vector<void*> raw;
    for (std::int64_t i = 0; i < kMostConfigs; ++i) {
      raw.push_back(configs.emplace_back(Kind::kEngineConfig).raw());
    }
    std::int64_t found = 0;
    check(library().get(heuristic.raw(), kHeuristicResults, static_cast<int>(Type::kDescriptor),
                        kMostConfigs, &found, raw.data()),
          "heuristic's results");
    int status = kNotSupported;
    for (std::int64_t i = 0; i < found && i < kMostConfigs; ++i) {
      auto made = std::make_unique<Descriptor>(Kind::kPlan);
      if (target.handle != nullptr) made->set_handle(kPlanHandle, target.handle);
      made->refer(kPlanConfig, configs[static_cast<std::size_t>(i)]);
      if (target.device != nullptr) made->refer(kPlanDevice, *target.device);
      status = made->try_finalize();
      if (status != 0) continue;
      const std::int64_t bytes = made->integer(kPlanWorkspaceBytes);
      if (bytes > static_cast<std::int64_t>(kWorkspaceBytes)) continue;
      plan = std::move(made);
      return;
    }
    check(status == 0 ? kNotSupported : status, "no plan for this attention");
  }

  const AttentionProblem p;
  const Target target;
  std::deque<Descriptor> tensors, parts, nodes, configs;  // addresses stay
  std::vector<std::pair<Id, Tensor>> scalars;
  std::int64_t next_virtual = kFirstVirtual;
  Descriptor operations;
  std::unique_ptr<Descriptor> plan;
};

AttentionPlan::AttentionPlan(const AttentionProblem& problem, const Target& target)
    : graph_(std::make_unique<Graph>(problem, target)) {
  graph_->choose();
}

AttentionPlan::~AttentionPlan() = default;

std::uint64_t AttentionPlan::workspace_bytes() const {
  return static_cast<std::uint64_t>(graph_->plan->integer(kPlanWorkspaceBytes));
}

void AttentionPlan::run(void* handle, const AttentionOperands& operands) const {
  const AttentionProblem& p = graph_->p;
  float masked = std::numeric_limits<float>::lowest();
  auto keys = static_cast<std::int32_t>(p.keys);
  auto queries = static_cast<std::int32_t>(p.queries);
  auto shift = static_cast<float>(p.window - p.keys + p.queries);
  std::vector<std::int64_t> ids = {kQ, kK, kV, kOut, kScale, kMasked, kKeys, kQueries};
  std::vector<const void*> data = {operands.q,      operands.k, operands.v, operands.out,
                                   &operands.scale, &masked,    &keys,      &queries};
  if (p.window > 0) {
    ids.push_back(kWindowShift);
    data.push_back(&shift);
  }
  Descriptor pack(Kind::kVariantPack);
  pack.set(kPackIds, Type::kInt64, static_cast<std::int64_t>(ids.size()), ids.data())
      .set(kPackPointers, Type::kPointer, static_cast<std::int64_t>(data.size()), data.data())
      .set(kPackWorkspace, Type::kPointer, 1, &operands.workspace)
      .finalize("operands");
  check(library().execute(handle, graph_->plan->raw(), pack.raw()), "attention");
}

}  // namespace rt::cuda::cudnn
