// libcublasLt.so.13 for the emulated GPU: the functions that plugins/cublaslt.cc asks for. A
// product is computed on the host from what its descriptions say and nothing else (types, rows,
// columns, leading dimensions, transposes), so a wrong description gives a wrong product. Sums are
// double.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "kernels/cuda/number.h"

using rt::cuda::Bf16;
using rt::cuda::F16;
using rt::cuda::round_to;
using rt::cuda::to_f32;

namespace {

constexpr int kInvalidValue = 7;
constexpr int kNotSupported = 15;
constexpr std::size_t kWorkspaceBytes = 32 << 20;  // what plugins/cublaslt.h declares
constexpr std::uint64_t kAlgorithm = 0x5EED;
constexpr std::uint64_t kStrangeTokens =
    47;  // so that there is a T for which no algorithm is known

struct Layout {
  int type;
  std::uint64_t rows, columns;
  std::int64_t leading;
};
struct Desc {
  int compute, scale, transpose[2];
};
struct Preference {
  std::uint64_t workspace_bytes;
  std::uint32_t alignment[4];
};
struct Heuristic {
  std::uint64_t algorithm[8];
  std::size_t workspace_bytes;
  int status;
  float waves;
  int reserved[4];
};

std::uint64_t place(const Layout& m, std::uint64_t row, std::uint64_t column) {
  return row + column * static_cast<std::uint64_t>(m.leading);
}

float value_at(const void* data, const Layout& m, std::uint64_t row, std::uint64_t column) {
  const std::uint64_t i = place(m, row, column);
  if (m.type == 0) return static_cast<const float*>(data)[i];
  if (m.type == 14) return to_f32(static_cast<const Bf16*>(data)[i]);
  return to_f32(static_cast<const F16*>(data)[i]);
}

void store_at(void* data, const Layout& m, std::uint64_t row, std::uint64_t column, float x) {
  const std::uint64_t i = place(m, row, column);
  if (m.type == 0) return round_to(x, static_cast<float*>(data) + i);
  if (m.type == 14) return round_to(x, static_cast<Bf16*>(data) + i);
  round_to(x, static_cast<F16*>(data) + i);
}

std::uint64_t inner(const Desc& desc, const Layout& a) {
  return desc.transpose[0] != 0 ? a.rows : a.columns;
}

// d [m, n] = op(a) [m, k] op(b) [k, n], by columns.
bool fits(const Desc& desc, const Layout& a, const Layout& b, const Layout& d) {
  const std::uint64_t m = desc.transpose[0] != 0 ? a.columns : a.rows;
  const std::uint64_t n = desc.transpose[1] != 0 ? b.rows : b.columns;
  const std::uint64_t k = desc.transpose[1] != 0 ? b.columns : b.rows;
  const auto leads = [](const Layout& l) { return l.leading >= static_cast<std::int64_t>(l.rows); };
  return desc.compute == 68 && desc.scale == 0 && m == d.rows && n == d.columns &&
         k == inner(desc, a) && leads(a) && leads(b) && leads(d) && a.type == b.type &&
         a.type == d.type;
}

void multiply(const Desc& desc, const void* a, const Layout& al, const void* b, const Layout& bl,
              void* d, const Layout& dl) {
  for (std::uint64_t m = 0; m < dl.rows; ++m) {
    for (std::uint64_t n = 0; n < dl.columns; ++n) {
      double sum = 0;
      for (std::uint64_t k = 0; k < inner(desc, al); ++k) {
        const float left = desc.transpose[0] != 0 ? value_at(a, al, k, m) : value_at(a, al, m, k);
        const float right = desc.transpose[1] != 0 ? value_at(b, bl, n, k) : value_at(b, bl, k, n);
        sum += double{left} * right;
      }
      store_at(d, dl, m, n, static_cast<float>(sum));
    }
  }
}

}  // namespace

extern "C" {

int cublasLtCreate(void** handle) {
  *handle = new int(1);
  return 0;
}
int cublasLtDestroy(void* handle) {
  delete static_cast<int*>(handle);
  return 0;
}
int cublasLtMatmulDescCreate(Desc** desc, int compute, int scale) {
  *desc = new Desc{compute, scale, {0, 0}};
  return 0;
}
int cublasLtMatmulDescDestroy(Desc* desc) {
  delete desc;
  return 0;
}
int cublasLtMatmulDescSetAttribute(Desc* desc, int attribute, const void* value,
                                   std::size_t bytes) {
  if ((attribute != 3 && attribute != 4) || bytes != sizeof(int)) return kInvalidValue;
  std::memcpy(&desc->transpose[attribute - 3], value, bytes);
  return 0;
}
int cublasLtMatrixLayoutCreate(Layout** layout, int type, std::uint64_t rows, std::uint64_t columns,
                               std::int64_t leading) {
  *layout = new Layout{type, rows, columns, leading};
  return 0;
}
int cublasLtMatrixLayoutDestroy(Layout* layout) {
  delete layout;
  return 0;
}
int cublasLtMatmulPreferenceCreate(Preference** preference) {
  *preference = new Preference{0, {256, 256, 256, 256}};  // the library's own default
  return 0;
}
int cublasLtMatmulPreferenceDestroy(Preference* preference) {
  delete preference;
  return 0;
}
int cublasLtMatmulPreferenceSetAttribute(Preference* preference, int attribute, const void* value,
                                         std::size_t bytes) {
  if (attribute == 1 && bytes == sizeof(std::uint64_t)) {
    std::memcpy(&preference->workspace_bytes, value, bytes);
    return 0;
  }
  if (attribute == 3 && bytes == sizeof(std::uint32_t)) return 0;  // there is one way to add
  if (attribute < 5 || attribute > 8 || bytes != sizeof(std::uint32_t)) return kInvalidValue;
  std::memcpy(&preference->alignment[attribute - 5], value, bytes);
  return 0;
}
// The algorithm remembers what alignment it was promised.
int cublasLtMatmulAlgoGetHeuristic(void*, const Desc* desc, const Layout* a, const Layout* b,
                                   const Layout*, const Layout* d, const Preference* preference,
                                   int wanted, Heuristic* found, int* count) {
  *count = 0;
  if (b->columns == kStrangeTokens) return kNotSupported;
  if (!fits(*desc, *a, *b, *d)) {
    // Nothing less: who asked would compute it itself.
    std::fprintf(stderr, "cuda emulation: cuBLASLt: a product that is not described right\n");
    std::abort();
  }
  if (wanted < 1 || preference->workspace_bytes > kWorkspaceBytes) return kInvalidValue;
  *found = {};
  found->algorithm[0] = kAlgorithm;
  found->algorithm[1] = preference->alignment[0];
  *count = 1;
  return 0;
}
int cublasLtMatmul(void*, const Desc* desc, const void* alpha, const void* a, const Layout* al,
                   const void* b, const Layout* bl, const void* beta, const void* c, const Layout*,
                   void* d, const Layout* dl, const std::uint64_t* algorithm, void* workspace,
                   std::size_t bytes, void* stream) {
  const auto misaligned = [&](const void* address) {
    return reinterpret_cast<std::uintptr_t>(address) % algorithm[1] != 0;
  };
  if (algorithm[0] != kAlgorithm || misaligned(a) || misaligned(b) || misaligned(d) || c != d ||
      *static_cast<const float*>(alpha) != 1 || *static_cast<const float*>(beta) != 0 ||
      bytes > kWorkspaceBytes || !fits(*desc, *al, *bl, *dl)) {
    return kInvalidValue;
  }
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(1);
  config.blockDim = dim3(32);  // whole warps, of which one thread works
  config.stream = static_cast<cudaStream_t>(stream);
  const auto work = [=, desc = *desc, al = *al, bl = *bl, dl = *dl] {
    if (cuda_emulation::indices().thread_index.x != 0) return;
    std::memset(workspace, 0xA5, bytes > 4096 ? 4096 : bytes);  // it is ours to write
    multiply(desc, a, al, b, bl, d, dl);
  };
  return cuda_emulation::launch_kernel(config, work) == cudaSuccess ? 0 : 13;
}

}  // extern "C"
