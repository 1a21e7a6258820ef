#include "kernels/cuda/embedding.h"

#include "kernels/cuda/launch.h"
#include "kernels/cuda/number.h"
#include "kernels/cuda/quantized_codes.h"

namespace rt::cuda {
namespace {

constexpr unsigned kThreads = 256;

// grid [T], block 256, no shared memory. Moves 2 T D elements; bound by latency: one row of 4 to
// 16 KiB per block.
__global__ void __launch_bounds__(kThreads)
    embedding_rows(const int32_t* ids, Matrix table, float scale, Matrix out) {
  after_previous();
  const uint64_t t = blockIdx.x;
  const int64_t id = ids[t];
  const bool known = id >= 0 && static_cast<uint64_t>(id) < table.rows;
  for (uint64_t d = threadIdx.x; d < table.columns; d += kThreads) {
    const float x =
        known ? load(table.data, table.element, static_cast<uint64_t>(id) * table.columns + d)
              : __uint_as_float(0x7fc00000u);
    store(out.data, out.element, t * out.columns + d, scale * x);
  }
}

// The same with a quantized table, element by element: a step reads few rows.
__global__ void __launch_bounds__(kThreads)
    quantized_embedding_rows(const int32_t* ids, QuantizedMatrix table, float scale, Matrix out,
                             Codebook book) {
  __shared__ SharedCodebook shared;
  fill(shared, book);
  __syncthreads();
  after_previous();
  const uint64_t t = blockIdx.x;
  const int64_t id = ids[t];
  const bool known = id >= 0 && static_cast<uint64_t>(id) < table.rows;
  for (uint64_t d = threadIdx.x; d < table.columns; d += kThreads) {
    const float x = known ? value_at(table, shared, static_cast<uint64_t>(id), d)
                          : __uint_as_float(0x7fc00000u);
    store(out.data, out.element, t * out.columns + d, scale * x);
  }
}

}  // namespace

void embedding(const int32_t* ids, const Matrix& table, float scale, const Matrix& out,
               void* stream) {
  if (out.rows == 0) return;
  launch(embedding_rows, dim3(static_cast<unsigned>(out.rows)), kThreads, 0, stream, ids, table,
         scale, out);
}

void embedding(const int32_t* ids, const QuantizedMatrix& table, float scale, const Matrix& out,
               void* stream) {
  if (out.rows == 0) return;
  launch(quantized_embedding_rows, dim3(static_cast<unsigned>(out.rows)), kThreads, 0, stream, ids,
         table, scale, out, kNf4Codebook);
}

}  // namespace rt::cuda
