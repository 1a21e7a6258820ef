#include "plugins/cublaslt.h"

#include "plugins/nvidia_library.h"

namespace rt::cuda {
namespace {

// Of cublasLt.h, cublas_api.h and library_types.h of CUDA 13 and 12.
constexpr int kCompute32F = 68;  // with f32 operands this is f32, TF32 has a number of its own
constexpr int kReal16F = 2;
constexpr int kReal16BF = 14;
constexpr int kReal32F = 0;
constexpr int kDescTransposeA = 3;
constexpr int kPreferenceWorkspaceBytes = 1;
constexpr int kPreferenceReductionSchemes = 3;
constexpr int kPreferenceFirstAlignment = 5;  // of A, then B, C, D
constexpr int kTranspose = 1;

struct Heuristic {
  std::array<std::uint64_t, 8> algorithm;
  std::size_t workspace_bytes;
  int status;
  float waves;
  int reserved[4];
};

struct Library {
  int (*create)(void** handle);
  int (*destroy)(void* handle);
  int (*desc_create)(void** desc, int compute, int scale);
  int (*desc_destroy)(void* desc);
  int (*desc_set)(void* desc, int attribute, const void* value, std::size_t bytes);
  int (*layout_create)(void** layout, int type, std::uint64_t rows, std::uint64_t columns,
                       std::int64_t leading);
  int (*layout_destroy)(void* layout);
  int (*preference_create)(void** preference);
  int (*preference_destroy)(void* preference);
  int (*preference_set)(void* preference, int attribute, const void* value, std::size_t bytes);
  int (*heuristic)(void* handle, void* desc, void* a, void* b, void* c, void* d, void* preference,
                   int wanted, Heuristic* found, int* count);
  int (*matmul)(void* handle, void* desc, const void* alpha, const void* a, void* a_layout,
                const void* b, void* b_layout, const void* beta, const void* c, void* c_layout,
                void* d, void* d_layout, const void* algorithm, void* workspace, std::size_t bytes,
                void* stream);
  std::string missing;  // "": all there
};

template <class Function>
void find(void* library, const char* name, Function& function, std::string& missing) {
  function = reinterpret_cast<Function>(library_function(library, name));
  if (function == nullptr) missing = std::string("libcublasLt has no function ") + name;
}

Library open_library() {
  Library l{};
  void* opened = open_cublaslt();
  if (opened == nullptr) {
    l.missing =
        "no libcublasLt.so.13 or .so.12 in the library path, $CUDA_HOME, $CUDA_PATH, "
        "/usr/local/cuda or Python's nvidia wheels";
    return l;
  }
  find(opened, "cublasLtCreate", l.create, l.missing);
  find(opened, "cublasLtDestroy", l.destroy, l.missing);
  find(opened, "cublasLtMatmulDescCreate", l.desc_create, l.missing);
  find(opened, "cublasLtMatmulDescDestroy", l.desc_destroy, l.missing);
  find(opened, "cublasLtMatmulDescSetAttribute", l.desc_set, l.missing);
  find(opened, "cublasLtMatrixLayoutCreate", l.layout_create, l.missing);
  find(opened, "cublasLtMatrixLayoutDestroy", l.layout_destroy, l.missing);
  find(opened, "cublasLtMatmulPreferenceCreate", l.preference_create, l.missing);
  find(opened, "cublasLtMatmulPreferenceDestroy", l.preference_destroy, l.missing);
  find(opened, "cublasLtMatmulPreferenceSetAttribute", l.preference_set, l.missing);
  find(opened, "cublasLtMatmulAlgoGetHeuristic", l.heuristic, l.missing);
  find(opened, "cublasLtMatmul", l.matmul, l.missing);
  return l;
}

const Library& library() {
  static const Library one = open_library();
  return one;
}

constexpr int kNotSupported = 15;

// What our kernel may serve instead: no algorithm, another architecture; a launch that failed or an
// internal error, which the library also tells where it finds no memory for a kernel of its own,
// and where an earlier kernel has failed: then the launch of ours tells the driver's own error.
bool ours_may_serve(int status) {
  constexpr int kArchMismatch = 8, kExecutionFailed = 13, kInternalError = 14;
  return status == kNotSupported || status == kArchMismatch || status == kExecutionFailed ||
         status == kInternalError;
}

// Codes of cublasStatus_t are no cudaError_t: no memory; a mistake of ours.
LaunchError failure(int status) {
  constexpr int kAllocFailed = 3;
  constexpr int kOutOfMemory = 2, kInvalidValue = 1;  // cudaError_t
  return LaunchError(status == kAllocFailed ? kOutOfMemory : kInvalidValue,
                     sdk::format("cuBLASLt: status %d; --prefer linear_cuda/mma,mlp_cuda/mma does "
                                 "without the library",
                                 status));
}

int type_of(Element element) {
  return element == Element::kF32 ? kReal32F : element == Element::kBf16 ? kReal16BF : kReal16F;
}

// A library's object with its destructor.
struct Handle {
  explicit Handle(int (*its_destroy)(void*)) : destroy(its_destroy) {}
  ~Handle() {
    if (object != nullptr) destroy(object);
  }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  int (*destroy)(void*);
  void* object = nullptr;
};

// Runs steps in order until one has a status other than 0.
template <class... Steps>
int in_turn(Steps&&... steps) {
  int status = 0;
  ((status = status != 0 ? status : steps()), ...);
  return status;
}

}  // namespace

// out^T [N, T] = weight^T' x^T: the library counts by columns, so row-major [rows, columns] is
// [columns, rows] with a leading dimension of `columns`, and the weight the transposed left
// operand.
class CublasLt::Plan {
 public:
  // The library's status; 0: this can be run.
  int describe(void* handle, const Shape& shape);

  Handle desc{library().desc_destroy};
  Handle a{library().layout_destroy}, b{library().layout_destroy}, d{library().layout_destroy};
  std::array<std::uint64_t, 8> algorithm{};

 private:
  int choose(void* handle);
};

int CublasLt::Plan::describe(void* handle, const Shape& shape) {
  const Library& l = library();
  const int type = type_of(static_cast<Element>(shape[0]));
  const std::uint64_t tokens = shape[1], n = shape[2], k = shape[3];
  const auto lay_out = [&](Handle& layout, std::uint64_t rows, std::uint64_t columns) {
    return l.layout_create(&layout.object, type, columns, rows, static_cast<std::int64_t>(columns));
  };
  return in_turn(
      [&] { return l.desc_create(&desc.object, kCompute32F, kReal32F); },
      [&] { return l.desc_set(desc.object, kDescTransposeA, &kTranspose, sizeof kTranspose); },
      [&] { return lay_out(a, n, k); }, [&] { return lay_out(b, tokens, k); },
      [&] { return lay_out(d, tokens, n); }, [&] { return choose(handle); });
}

int CublasLt::Plan::choose(void* handle) {
  const Library& l = library();
  Handle preference(l.preference_destroy);
  const auto set = [&](int attribute, const auto& value) {
    return l.preference_set(preference.object, attribute, &value, sizeof value);
  };
  constexpr std::uint32_t kInComputeType = 2;  // parts of a sum over K are added in f32
  constexpr auto kAddresses = static_cast<std::uint32_t>(kAlignment);
  Heuristic found{};
  int count = 0;
  const int status =
      in_turn([&] { return l.preference_create(&preference.object); },
              [&] { return set(kPreferenceWorkspaceBytes, kCublasLtWorkspaceBytes); },
              [&] { return set(kPreferenceReductionSchemes, kInComputeType); },
              [&] { return set(kPreferenceFirstAlignment, kAddresses); },
              [&] { return set(kPreferenceFirstAlignment + 1, kAddresses); },
              [&] { return set(kPreferenceFirstAlignment + 2, kAddresses); },
              [&] { return set(kPreferenceFirstAlignment + 3, kAddresses); },
              [&] {
                return l.heuristic(handle, desc.object, a.object, b.object, d.object, d.object,
                                   preference.object, 1, &found, &count);
              });
  algorithm = found.algorithm;
  return status != 0 ? status : count == 0 ? kNotSupported : found.status;
}

std::shared_ptr<CublasLt> CublasLt::of_device(std::uint32_t index) {
  return one_of_device<CublasLt>(index);
}

// Without a handle (no memory for it, a description that is wrong about the machine) there are no
// plans, and ours serves with a warning.
CublasLt::CublasLt()
    : create_status_(library().missing.empty() ? library().create(&handle_) : kNotSupported) {}

CublasLt::~CublasLt() {
  plans_.clear();
  if (handle_ != nullptr) (void)library().destroy(handle_);
}

const CublasLt::Plan* CublasLt::plan(const Shape& shape) {
  if (create_status_ != 0) return nullptr;
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto known = plans_.find(shape);
  if (known != plans_.end()) return known->second.get();
  auto made = std::make_unique<Plan>();
  if (made->describe(handle_, shape) != 0) made.reset();
  return plans_.emplace(shape, std::move(made)).first->second.get();
}

int CublasLt::run(const Plan& plan, const void* x, const void* weight, void* out, void* workspace,
                  void* stream) const {
  const float one = 1;
  const float zero = 0;
  return library().matmul(handle_, plan.desc.object, &one, weight, plan.a.object, x, plan.b.object,
                          &zero, out, plan.d.object, out, plan.d.object, plan.algorithm.data(),
                          workspace, kCublasLtWorkspaceBytes, stream);
}

void CublasLt::warn(const rt_host& host, const Shape& shape, int status) {
  const std::uint64_t tokens = shape[1], n = shape[2], k = shape[3];
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!warned_.insert({n, k}).second) return;
  const std::string why = create_status_ != 0
                              ? sdk::format("could not be started (status %d)", create_status_)
                              : sdk::format("refuses it (status %d)", status);
  const std::string text =
      sdk::format("a product of %llu tokens, N %llu, K %llu is computed by our kernel: cuBLASLt %s",
                  static_cast<unsigned long long>(tokens), static_cast<unsigned long long>(n),
                  static_cast<unsigned long long>(k), why.c_str());
  host.log(&host, RT_LOG_WARN, text.c_str());
}

LtProduct::LtProduct(const sdk::Node& node, std::uint32_t weight, Kernel few, Kernel ours)
    : library_(CublasLt::of_device(node.device().index)),
      shape_{static_cast<std::uint64_t>(matrix(node.input(weight)).element), 0,
             static_cast<std::uint64_t>(node.input(weight).shape[0]),
             static_cast<std::uint64_t>(node.input(weight).shape[1])},
      per_row_(node.input(0).shape[0] == RT_DIM_ROWS),
      few_(few),
      ours_(ours) {}

void LtProduct::prepare(const rt_step& step) {
  const std::uint64_t tokens = per_row_ ? step.rows : step.tokens;
  if (tokens == shape_[1]) return;
  shape_[1] = tokens;
  plan_ = tokens <= kFewRows ? nullptr : library_->plan(shape_);
}

void LtProduct::run(const sdk::Call& call, const Matrix& x, const Matrix& weight,
                    const Matrix& out) {
  if (x.rows <= kFewRows) return few_(x, weight, out, stream_of(call));
  const auto aligned = [](const Matrix& m) {
    return reinterpret_cast<std::uintptr_t>(m.data) % CublasLt::kAlignment == 0;
  };
  int status = kNotSupported;
  if (plan_ != nullptr && x.rows == shape_[1] && aligned(x) && aligned(weight) && aligned(out)) {
    status = library_->run(*plan_, x.data, weight.data, out.data, call.workspace<void>(),
                           stream_of(call));
  }
  if (status == 0) return;
  if (!ours_may_serve(status)) throw failure(status);
  library_->warn(*call.c().host, shape_, status);
  ours_(x, weight, out, stream_of(call));
}

}  // namespace rt::cuda
