#include "plugins/cublaslt.h"

#include "plugins/nvidia_library.h"

namespace rt::cuda {
namespace {

// Of cublasLt.h, cublas_api.h and library_types.h of CUDA 13.
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
        "no libcublasLt.so.13 (CUDA 13) in the library path, $CUDA_HOME, $CUDA_PATH, "
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

constexpr int kMissing =
    1;  // cudaErrorInvalidValue: a device that says it has the library and has not

// Codes of cublasStatus_t are no cudaError_t: 13 (execution failed) is the device's, the rest ours.
void check(int status, const char* what) {
  constexpr int kExecutionFailed = 13;
  constexpr int kInvalidValue = 1;  // cudaErrorInvalidValue
  constexpr int kLaunchFailure = 719;
  if (status == 0) return;
  throw LaunchError(status == kExecutionFailed ? kLaunchFailure : kInvalidValue,
                    sdk::format("cuBLASLt: %s: status %d; --prefer linear_cuda/mma,mlp_cuda/mma "
                                "does without the library",
                                what, status));
}

int type_of(Element element) {
  return element == Element::kF32 ? kReal32F : element == Element::kBf16 ? kReal16BF : kReal16F;
}

// The largest power of two up to 256 that divides all addresses.
std::uint32_t alignment_of(const Matrix& x, const Matrix& weight, const Matrix& out) {
  const std::uintptr_t bits = reinterpret_cast<std::uintptr_t>(x.data) |
                              reinterpret_cast<std::uintptr_t>(weight.data) |
                              reinterpret_cast<std::uintptr_t>(out.data) | 256;
  return static_cast<std::uint32_t>(bits & -bits);
}

// The library counts by columns: row-major [rows, columns] is [columns, rows] with a leading
// dimension of `columns`.
struct Layout {
  explicit Layout(const Matrix& m) {
    check(library().layout_create(&layout, type_of(m.element), m.columns, m.rows,
                                  static_cast<std::int64_t>(m.columns)),
          "layout");
  }
  ~Layout() { library().layout_destroy(layout); }
  Layout(const Layout&) = delete;
  Layout& operator=(const Layout&) = delete;
  void* layout = nullptr;
};

// out^T [N, T] = weight^T' x^T: the weight, [K, N] by columns, is the transposed left operand.
struct Product {
  Product(const Matrix& x, const Matrix& weight, const Matrix& out) : a(weight), b(x), d(out) {
    check(library().desc_create(&desc, kCompute32F, kReal32F), "description");
    check(library().desc_set(desc, kDescTransposeA, &kTranspose, sizeof kTranspose), "transpose");
  }
  ~Product() { library().desc_destroy(desc); }
  Product(const Product&) = delete;
  Product& operator=(const Product&) = delete;
  Layout a, b, d;
  void* desc = nullptr;
};

// Nothing: the library has none for it.
std::optional<std::array<std::uint64_t, 8>> choose(void* handle, const Product& product,
                                                   std::uint32_t alignment) {
  const Library& l = library();
  void* preference = nullptr;
  check(l.preference_create(&preference), "preference");
  const std::uint64_t bytes = kCublasLtWorkspaceBytes;
  int status = l.preference_set(preference, kPreferenceWorkspaceBytes, &bytes, sizeof bytes);
  // Parts of a sum over K are added in f32, not in the type of the result.
  constexpr std::uint32_t kInComputeType = 2;
  if (status == 0) {
    status = l.preference_set(preference, kPreferenceReductionSchemes, &kInComputeType,
                              sizeof kInComputeType);
  }
  for (int operand = 0; operand < 4 && status == 0; ++operand) {
    status = l.preference_set(preference, kPreferenceFirstAlignment + operand, &alignment,
                              sizeof alignment);
  }
  Heuristic found{};
  int count = 0;
  if (status == 0) {
    status = l.heuristic(handle, product.desc, product.a.layout, product.b.layout, product.d.layout,
                         product.d.layout, preference, 1, &found, &count);
  }
  l.preference_destroy(preference);
  constexpr int kNotSupported = 15;
  if (status != kNotSupported) check(status, "heuristic");
  if (status == kNotSupported || count == 0 || found.status != 0) return std::nullopt;
  return found.algorithm;
}

void warn(const rt_host& host, const std::array<std::uint64_t, 5>& shape) {
  const std::string text = sdk::format(
      "cuBLASLt has no algorithm for a product of %llu tokens, N %llu, K %llu; ours serves",
      static_cast<unsigned long long>(shape[1]), static_cast<unsigned long long>(shape[2]),
      static_cast<unsigned long long>(shape[3]));
  host.log(&host, RT_LOG_WARN, text.c_str());
}

}  // namespace

std::shared_ptr<CublasLt> CublasLt::of_device(std::uint32_t index) {
  return one_of_device<CublasLt>(index);
}

CublasLt::CublasLt() {
  if (!library().missing.empty()) throw LaunchError(kMissing, "cuBLASLt: " + library().missing);
  check(library().create(&handle_), "create");
}

CublasLt::~CublasLt() {
  (void)library().destroy(handle_);
}

bool CublasLt::run(const sdk::Call& call, const Matrix& x, const Matrix& weight,
                   const Matrix& out) {
  if (x.rows == 0) return true;
  const Product product(x, weight, out);
  const std::uint32_t alignment = alignment_of(x, weight, out);
  const Shape shape = {static_cast<std::uint64_t>(x.element), x.rows, weight.rows, x.columns,
                       alignment};
  std::optional<Algorithm> algorithm;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    auto known = algorithms_.find(shape);
    if (known == algorithms_.end()) {
      known = algorithms_.emplace(shape, choose(handle_, product, alignment)).first;
      if (!known->second) warn(*call.c().host, shape);
    }
    algorithm = known->second;
  }
  if (!algorithm) return false;
  const float one = 1;
  const float zero = 0;
  check(library().matmul(handle_, product.desc, &one, weight.data, product.a.layout, x.data,
                         product.b.layout, &zero, out.data, product.d.layout, out.data,
                         product.d.layout, algorithm->data(), call.workspace<void>(),
                         kCublasLtWorkspaceBytes, stream_of(call)),
        "product");
  return true;
}

}  // namespace rt::cuda
