// cuDNN's backend interface, opened when a plan first asks: nothing is linked, and where it is
// missing or too old whoever wants it is refused with a sentence. Its numbers stand here, so that
// nothing needs its headers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "plugins/cuda_operator.h"

namespace rt::cuda::cudnn {

// cudnnBackendDescriptorType_t.
enum class Kind : int {
  kPointwise = 0,
  kEngineHeuristic = 4,
  kPlan = 5,
  kPointwiseOperation = 13,
  kGraph = 15,
  kVariantPack = 16,
  kTensor = 17,
  kMatmul = 18,
  kMatmulOperation = 19,
  kReduction = 21,
  kReductionOperation = 22,
  kEngineConfig = 3,
  kDeviceProperties = 38,
};

// cudnnBackendAttributeName_t.
enum Attribute : int {
  kPointwiseMode = 0,
  kPointwisePrecision = 1,
  kPointwiseAxis = 9,
  kHeuristicMode = 200,
  kHeuristicGraph = 201,
  kHeuristicResults = 202,
  kHeuristicDevice = 204,
  kPlanHandle = 400,
  kPlanConfig = 401,
  kPlanWorkspaceBytes = 402,
  kPlanDevice = 407,
  kOperationPointwise = 750,
  kOperationPointwiseX = 751,
  kOperationPointwiseB = 752,
  kOperationPointwiseY = 753,
  kOperationPointwiseT = 758,
  kGraphHandle = 800,
  kGraphOperations = 801,
  kTensorAlignment = 900,
  kTensorType = 901,
  kTensorDimensions = 902,
  kTensorStrides = 903,
  kTensorId = 906,
  kTensorIsVirtual = 907,
  kTensorIsByValue = 908,
  kPackIds = 1000,
  kPackPointers = 1001,
  kPackWorkspace = 1003,
  kMatmulPrecision = 1500,
  kOperationMatmulA = 1520,
  kOperationMatmulB = 1521,
  kOperationMatmulC = 1522,
  kOperationMatmul = 1523,
  kReductionOperator = 1600,
  kReductionPrecision = 1601,
  kOperationReductionX = 1610,
  kOperationReductionY = 1611,
  kOperationReduction = 1612,
  kDeviceJson = 2702,
};

// cudnnBackendAttributeType_t.
enum class Type : int {
  kHandle = 0,
  kDataType = 1,
  kBoolean = 2,
  kInt64 = 3,
  kPointer = 6,
  kHeuristicMode = 8,
  kPointwiseMode = 14,
  kDescriptor = 15,
  kReductionOperator = 18,
  kChar = 24,
};

// cudnnDataType_t, cudnnPointwiseMode_t, cudnnReduceTensorOp_t, cudnnBackendHeurMode_t.
enum DataType : int { kFloat = 0, kHalf = 2, kInt32 = 4, kBfloat16 = 9, kBoolean = 11 };
enum Mode : int {
  kAdd = 0,
  kMul = 1,
  kDiv = 6,
  kSub = 9,
  kExp = 13,
  kGreater = 302,
  kGreaterEqual = 303,
  kIndex = 501,
  kSelect = 601,
};
enum Reduce : int { kSum = 0, kMax = 3 };
constexpr int kHeuristicModeA = 3;
constexpr int kHeuristicModeFallback = 2;

struct Library {
  std::size_t (*version)();
  void (*last_error)(char* text, std::size_t bytes);
  int (*create)(void** handle);
  int (*destroy)(void* handle);
  int (*set_stream)(void* handle, void* stream);
  int (*create_descriptor)(int kind, void** descriptor);
  int (*destroy_descriptor)(void* descriptor);
  int (*set)(void* descriptor, int attribute, int type, std::int64_t count, const void* values);
  int (*get)(void* descriptor, int attribute, int type, std::int64_t wanted, std::int64_t* count,
             void* values);
  int (*finalize)(void* descriptor);
  int (*execute)(void* handle, void* plan, void* pack);
  std::string missing;  // "": all there
};

const Library& library();

// Throws sdk::Refusal where the library is not, with the places that were looked at. This asks the
// machine and not the description: a plan for another machine says what this one would do.
void expect_library();

// Throws LaunchError with the library's own text.
void check(int status, const char* what);

// A backend descriptor. Those that it refers to must outlive it.
class Descriptor {
 public:
  explicit Descriptor(Kind kind);
  ~Descriptor();
  Descriptor(Descriptor&& other) noexcept : raw_(other.raw_) { other.raw_ = nullptr; }
  Descriptor& operator=(Descriptor&&) = delete;
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  void* raw() const { return raw_; }
  Descriptor& set(Attribute attribute, Type type, std::int64_t count, const void* values);
  Descriptor& set(Attribute attribute, Type type, int value) {
    return set(attribute, type, 1, &value);
  }
  Descriptor& set_integer(Attribute attribute, std::int64_t value) {
    return set(attribute, Type::kInt64, 1, &value);
  }
  Descriptor& set_boolean(Attribute attribute, bool value) {
    return set(attribute, Type::kBoolean, 1, &value);
  }
  Descriptor& set_handle(Attribute attribute, void* handle) {
    return set(attribute, Type::kHandle, 1, &handle);
  }
  Descriptor& refer(Attribute attribute, const Descriptor& other) {
    return set(attribute, Type::kDescriptor, 1, &other.raw_);
  }
  std::int64_t integer(Attribute attribute) const;
  void finalize(const char* what) { check(library().finalize(raw_), what); }
  // A status, for what may rightly be refused.
  int try_finalize() { return library().finalize(raw_); }

 private:
  void* raw_ = nullptr;
};

}  // namespace rt::cuda::cudnn
