// libcudnn.so.9 for the emulated GPU: the backend functions that plugins/attention/cudnn_library.cc
// asks for. A graph of products, reductions and functions of elements is computed on the host, node
// by node, from what its descriptors say and nothing else (types, sizes, strides, operands), so a
// wrong description gives a wrong result; a descriptor that lacks an attribute is not finalized.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <map>
#include <vector>

#include "kernels/cuda/number.h"
#include "plugins/attention/cudnn_library.h"

using namespace rt::cuda::cudnn;
using rt::cuda::Bf16;
using rt::cuda::F16;
using rt::cuda::round_to;
using rt::cuda::to_f32;

namespace {

constexpr int kBadParameter = 2000;
constexpr int kNotSupported = 3000;
constexpr int kExecutionFailed = 5000;

struct Values {
  int type;
  std::int64_t count;
  std::vector<unsigned char> bytes;
};

struct Object {
  Kind kind;
  bool finalized = false;
  std::map<int, Values> attributes;

  bool has(int attribute) const { return attributes.count(attribute) != 0; }
  template <class T>
  T at(int attribute, std::size_t i = 0) const {
    T value;
    std::memcpy(&value, attributes.at(attribute).bytes.data() + i * sizeof value, sizeof value);
    return value;
  }
  const Object& refer(int attribute, std::size_t i = 0) const { return *at<Object*>(attribute, i); }
};

struct Handle {
  void* stream = nullptr;
};

std::size_t bytes_of(Type type) {
  switch (type) {
    case Type::kBoolean:
    case Type::kChar:
      return 1;
    case Type::kHandle:
    case Type::kInt64:
    case Type::kPointer:
    case Type::kDescriptor:
      return 8;
    default:
      return 4;
  }
}

// What a descriptor must have before it is finalized.
std::vector<int> required(Kind kind) {
  switch (kind) {
    case Kind::kTensor:
      return {kTensorId, kTensorType, kTensorDimensions, kTensorStrides, kTensorAlignment};
    case Kind::kPointwise:
      return {kPointwiseMode, kPointwisePrecision};
    case Kind::kPointwiseOperation:
      return {kOperationPointwise, kOperationPointwiseX, kOperationPointwiseY};
    case Kind::kMatmul:
      return {kMatmulPrecision};
    case Kind::kMatmulOperation:
      return {kOperationMatmul, kOperationMatmulA, kOperationMatmulB, kOperationMatmulC};
    case Kind::kReduction:
      return {kReductionOperator, kReductionPrecision};
    case Kind::kReductionOperation:
      return {kOperationReduction, kOperationReductionX, kOperationReductionY};
    case Kind::kGraph:
      return {kGraphHandle, kGraphOperations};
    case Kind::kEngineHeuristic:
      return {kHeuristicGraph, kHeuristicMode};
    case Kind::kPlan:
      return {kPlanHandle, kPlanConfig};
    case Kind::kVariantPack:
      return {kPackIds, kPackPointers, kPackWorkspace};
    default:
      return {};
  }
}

struct View {
  std::int64_t id = 0;
  int type = 0;
  std::array<std::int64_t, 4> sizes{}, strides{};

  explicit View(const Object& tensor)
      : id(tensor.at<std::int64_t>(kTensorId)), type(tensor.at<int>(kTensorType)) {
    for (std::size_t i = 0; i < 4; ++i) {
      sizes[i] = tensor.at<std::int64_t>(kTensorDimensions, i);
      strides[i] = tensor.at<std::int64_t>(kTensorStrides, i);
    }
  }
  // Sizes of 1 are repeated, groups of heads share one.
  std::int64_t place(const std::array<std::int64_t, 4>& at,
                     const std::array<std::int64_t, 4>& whole) const {
    std::int64_t out = 0;
    for (std::size_t i = 0; i < 4; ++i) out += at[i] * sizes[i] / whole[i] * strides[i];
    return out;
  }
  std::int64_t count() const { return sizes[0] * sizes[1] * sizes[2] * sizes[3]; }
};

struct Node {
  Kind kind;
  int mode = 0;
  std::int64_t axis = 0;
  std::vector<View> inputs;
  View output;
};

View view(const Object& node, int attribute) {
  return View(node.refer(attribute));
}

Node read_node(const Object& node) {
  if (node.kind == Kind::kMatmulOperation) {
    return {node.kind,
            0,
            0,
            {view(node, kOperationMatmulA), view(node, kOperationMatmulB)},
            view(node, kOperationMatmulC)};
  }
  if (node.kind == Kind::kReductionOperation) {
    return {node.kind,
            node.refer(kOperationReduction).at<int>(kReductionOperator),
            0,
            {view(node, kOperationReductionX)},
            view(node, kOperationReductionY)};
  }
  const Object& function = node.refer(kOperationPointwise);
  Node out = {node.kind,
              function.at<int>(kPointwiseMode),
              0,
              {view(node, kOperationPointwiseX)},
              view(node, kOperationPointwiseY)};
  if (function.has(kPointwiseAxis)) out.axis = function.at<std::int64_t>(kPointwiseAxis);
  for (const int operand : {kOperationPointwiseB, kOperationPointwiseT}) {
    if (node.has(operand)) out.inputs.push_back(view(node, operand));
  }
  return out;
}

// Runs nodes over memory that is the caller's (given ids) or its own (virtual tensors, in double).
class Machine {
 public:
  std::map<std::int64_t, void*> given;
  std::map<std::int64_t, double> scalars;

  void run(const Node& node) {
    std::vector<double>& own = virtuals_[node.output.id];
    if (given.count(node.output.id) == 0) {
      own.assign(static_cast<std::size_t>(node.output.count()), 0);
    }
    std::array<std::int64_t, 4> at{};
    for (at[1] = 0; at[1] < node.output.sizes[1]; ++at[1]) {
      for (at[2] = 0; at[2] < node.output.sizes[2]; ++at[2]) {
        for (at[3] = 0; at[3] < node.output.sizes[3]; ++at[3])
          store(node.output, at, value(node, at));
      }
    }
  }

 private:
  using Place = std::array<std::int64_t, 4>;

  double value(const Node& node, const Place& at) const {
    const Place& whole = node.output.sizes;
    if (node.kind == Kind::kMatmulOperation) return product(node, at);
    if (node.kind == Kind::kReductionOperation) return reduction(node, at);
    const double x = node.mode == kIndex ? 0 : load(node.inputs[0], at, whole);
    const double b = node.inputs.size() > 1 ? load(node.inputs[1], at, whole) : 0;
    switch (node.mode) {
      case kAdd:
        return x + b;
      case kMul:
        return x * b;
      case kDiv:
        return x / b;
      case kSub:
        return x - b;
      case kExp:
        return std::exp(x);
      case kGreater:
        return x > b;
      case kGreaterEqual:
        return x >= b;
      case kIndex:
        return static_cast<double>(at[static_cast<std::size_t>(node.axis)]);
      default:
        return load(node.inputs[2], at, whole) != 0 ? x : b;
    }
  }

  double product(const Node& node, const Place& at) const {
    const View& a = node.inputs[0];
    const View& b = node.inputs[1];
    double sum = 0;
    for (std::int64_t k = 0; k < a.sizes[3]; ++k) {
      const Place heads = {1, node.output.sizes[1], a.sizes[2], a.sizes[3]};
      const Place b_whole = {1, node.output.sizes[1], b.sizes[2], b.sizes[3]};
      sum += load(a, {0, at[1], at[2], k}, heads) * load(b, {0, at[1], k, at[3]}, b_whole);
    }
    return sum;
  }

  double reduction(const Node& node, const Place& at) const {
    const View& x = node.inputs[0];
    double out = node.mode == kMax ? -std::numeric_limits<double>::infinity() : 0;
    for (std::int64_t k = 0; k < x.sizes[3]; ++k) {
      const double one = load(x, {0, at[1], at[2], k}, x.sizes);
      out = node.mode == kMax ? std::max(out, one) : out + one;
    }
    return out;
  }

  double load(const View& tensor, const Place& at, const Place& whole) const {
    const std::int64_t i = tensor.place(at, whole);
    if (const auto scalar = scalars.find(tensor.id); scalar != scalars.end()) return scalar->second;
    const auto found = given.find(tensor.id);
    if (found == given.end()) return virtuals_.at(tensor.id)[static_cast<std::size_t>(i)];
    if (tensor.type == kBfloat16) return to_f32(static_cast<const Bf16*>(found->second)[i]);
    return to_f32(static_cast<const F16*>(found->second)[i]);
  }

  void store(const View& tensor, const Place& at, double x) {
    const std::int64_t i = tensor.place(at, tensor.sizes);
    Bf16 bf16;
    F16 f16;
    const auto rounded = static_cast<float>(x);
    const auto found = given.find(tensor.id);
    if (found == given.end()) {
      // The probabilities are of 16 bits.
      if (tensor.type == kBfloat16) round_to(rounded, &bf16), x = to_f32(bf16);
      if (tensor.type == kHalf) round_to(rounded, &f16), x = to_f32(f16);
      virtuals_[tensor.id][static_cast<std::size_t>(i)] = x;
    } else if (tensor.type == kBfloat16) {
      round_to(rounded, static_cast<Bf16*>(found->second) + i);
    } else {
      round_to(rounded, static_cast<F16*>(found->second) + i);
    }
  }

  std::map<std::int64_t, std::vector<double>> virtuals_;
};

// Operands by id: scalars are read now, the rest when the stream comes to it. False: one is
// missing.
bool bind(const Object& graph, const Object& pack, Machine& machine) {
  std::map<std::int64_t, void*> operands;
  for (std::int64_t i = 0; i < pack.attributes.at(kPackIds).count; ++i) {
    const auto n = static_cast<std::size_t>(i);
    operands[pack.at<std::int64_t>(kPackIds, n)] = pack.at<void*>(kPackPointers, n);
  }
  const std::int64_t nodes = graph.attributes.at(kGraphOperations).count;
  for (std::int64_t n = 0; n < nodes; ++n) {
    for (const auto& [name, values] :
         graph.refer(kGraphOperations, static_cast<std::size_t>(n)).attributes) {
      if (static_cast<Type>(values.type) != Type::kDescriptor) continue;
      Object* tensor;
      std::memcpy(&tensor, values.bytes.data(), sizeof tensor);
      if (tensor->kind != Kind::kTensor || tensor->at<bool>(kTensorIsVirtual)) continue;
      const auto id = tensor->at<std::int64_t>(kTensorId);
      if (operands.count(id) == 0) return false;
      const auto alignment = tensor->at<std::int64_t>(kTensorAlignment);
      if (!tensor->at<bool>(kTensorIsByValue)) {
        if (reinterpret_cast<std::intptr_t>(operands[id]) % alignment != 0) return false;
        machine.given[id] = operands[id];
      } else if (tensor->at<int>(kTensorType) == kInt32) {
        machine.scalars[id] = *static_cast<const std::int32_t*>(operands[id]);
      } else {
        machine.scalars[id] = *static_cast<const float*>(operands[id]);
      }
    }
  }
  return true;
}

}  // namespace

extern "C" {

std::size_t cudnnGetVersion() {
  return 91900;
}
void cudnnGetLastErrorString(char* text, std::size_t bytes) {
  std::strncpy(text, "the emulated library refuses", bytes);
}
int cudnnCreate(void** handle) {
  *handle = new Handle;
  return 0;
}
int cudnnDestroy(void* handle) {
  delete static_cast<Handle*>(handle);
  return 0;
}
int cudnnSetStream(void* handle, void* stream) {
  static_cast<Handle*>(handle)->stream = stream;
  return 0;
}
int cudnnBackendCreateDescriptor(int kind, void** descriptor) {
  *descriptor = new Object{static_cast<Kind>(kind), false, {}};
  return 0;
}
int cudnnBackendDestroyDescriptor(void* descriptor) {
  delete static_cast<Object*>(descriptor);
  return 0;
}
int cudnnBackendSetAttribute(void* descriptor, int attribute, int type, std::int64_t count,
                             const void* values) {
  auto* object = static_cast<Object*>(descriptor);
  if (object->finalized || count < 1 || values == nullptr) return kBadParameter;
  if (static_cast<Type>(type) == Type::kDescriptor) {
    for (std::int64_t i = 0; i < count; ++i) {
      if (!static_cast<Object* const*>(values)[i]->finalized) return kBadParameter;
    }
  }
  const auto* from = static_cast<const unsigned char*>(values);
  const std::size_t bytes = bytes_of(static_cast<Type>(type)) * static_cast<std::size_t>(count);
  object->attributes[attribute] = {type, count, {from, from + bytes}};
  return 0;
}
int cudnnBackendFinalize(void* descriptor) {
  auto* object = static_cast<Object*>(descriptor);
  for (const int attribute : required(object->kind)) {
    if (!object->has(attribute)) return kBadParameter;
  }
  if (object->kind == Kind::kTensor && object->attributes[kTensorDimensions].count != 4) {
    return kNotSupported;
  }
  object->finalized = true;
  return 0;
}
int cudnnBackendGetAttribute(void* descriptor, int attribute, int, std::int64_t wanted,
                             std::int64_t* count, void* values) {
  auto* object = static_cast<Object*>(descriptor);
  if (!object->finalized || wanted < 1) return kBadParameter;
  *count = 1;
  if (attribute == kHeuristicResults) {
    Object* config = *static_cast<Object**>(values);
    config->attributes[kHeuristicGraph] = object->attributes[kHeuristicGraph];
    config->finalized = true;
    return 0;
  }
  if (attribute != kPlanWorkspaceBytes) return kBadParameter;
  *static_cast<std::int64_t*>(values) = 4096;
  return 0;
}
int cudnnBackendExecute(void* handle, void* plan, void* pack) {
  const Object& operands = *static_cast<Object*>(pack);
  const Object& graph = static_cast<Object*>(plan)->refer(kPlanConfig).refer(kHeuristicGraph);
  if (!operands.finalized) return kBadParameter;
  Machine machine;
  if (!bind(graph, operands, machine)) return kBadParameter;
  std::vector<Node> nodes;
  for (std::int64_t n = 0; n < graph.attributes.at(kGraphOperations).count; ++n) {
    nodes.push_back(read_node(graph.refer(kGraphOperations, static_cast<std::size_t>(n))));
  }
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(1);
  config.blockDim = dim3(32);  // whole warps, of which one thread works
  config.stream = static_cast<cudaStream_t>(static_cast<Handle*>(handle)->stream);
  const auto work = [machine, nodes, workspace = operands.at<void*>(kPackWorkspace)]() mutable {
    if (cuda_emulation::indices().thread_index.x != 0) return;
    std::memset(workspace, 0xA5, 4096);  // it is ours to write
    for (const Node& node : nodes) machine.run(node);
  };
  return cuda_emulation::launch_kernel(config, work) == cudaSuccess ? 0 : kExecutionFailed;
}

}  // extern "C"
