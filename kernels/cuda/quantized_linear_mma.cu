#include <stdint.h>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/mma_tile.h"
#include "kernels/cuda/quantized_codes.h"
#include "kernels/cuda/quantized_linear.h"

namespace rt::cuda {
namespace {

// The values of NF4, one copy for each lane: 2 KiB of shared memory, no two lanes in one bank.
struct NibbleTable {
  float values[16][kWarp];
};

// Two neighbours of a row, rounded and side by side.
template <class T>
__device__ inline uint32_t rounded_pair(float first, float second) {
  T low, high;
  round_to(first, &low);
  round_to(second, &high);
  return low.bits | static_cast<uint32_t>(high.bits) << 16;
}

// Rows [first_row, first_row + 128) of a quantized weight, 32 columns at a time: half a row for
// each of 256 threads, its 16 codes in flight while the stage before is multiplied.
template <class T, class Format>
struct QuantizedBlock {
  static constexpr unsigned kElements = 16;
  static constexpr unsigned kWords = kElements / Format::kPerByte / 4;

  __device__ QuantizedBlock(const QuantizedMatrix& m, const NibbleTable& its_table)
      : weight(m), table(its_table) {
    const uint64_t n = static_cast<uint64_t>(blockIdx.x) * kMmaBlock + threadIdx.x / 2;
    in_rows = n < m.rows;
    row = Format::row(m, m.map, in_rows ? n : 0);
  }

  __device__ void begin(uint64_t first_k, MmaStage<T>&) {
    const uint64_t k = first_k + threadIdx.x % 2 * kElements;
    present = in_rows && k < weight.columns;
    const uint64_t from = present ? k : 0;
    const auto* words = reinterpret_cast<const uint32_t*>(row.codes + from / Format::kPerByte);
    RT_UNROLL
    for (unsigned i = 0; i < kWords; ++i) codes[i] = words[i];
    raw_scale = Format::raw_scale(row, static_cast<unsigned>(from));
  }

  __device__ void finish(MmaStage<T>& stage) {
    float values[kElements];
    if constexpr (Format::kPerByte == 1) {
      RT_UNROLL
      for (unsigned i = 0; i < kWords; ++i) unpack_int8(codes[i], values + 4 * i);
    } else {
      const float scale = Format::scale(row, raw_scale);
      RT_UNROLL
      for (unsigned i = 0; i < kElements; ++i) {
        const unsigned nibble = codes[i / 8] >> (i % 8 / 2 * 8 + (i % 2 == 0 ? 4 : 0)) & 15;
        values[i] = table.values[nibble][threadIdx.x % kWarp] * scale;
      }
    }
    T* to = stage.weight + threadIdx.x / 2 * kMmaStride + threadIdx.x % 2 * kElements;
    RT_UNROLL
    for (unsigned half = 0; half < 2; ++half) {
      Bytes16 bytes;
      RT_UNROLL
      for (unsigned i = 0; i < 4; ++i) {
        const float* pair = values + 8 * half + 2 * i;
        bytes.words[i] = present ? rounded_pair<T>(pair[0], pair[1]) : 0;
      }
      *reinterpret_cast<Bytes16*>(to + 8 * half) = bytes;
    }
  }

  __device__ float finished(uint64_t n, float sum) const {
    return sum * Format::row_scale(weight, n);
  }

  const QuantizedMatrix& weight;
  const NibbleTable& table;
  typename Format::Row row;
  typename Format::RawScale raw_scale;
  uint32_t codes[kWords];
  bool in_rows;
  bool present;
};

// grid [N / 128, T / 128], block 256, 42 KiB of shared memory. As linear_mma_tiles, with a half to
// a quarter of the weight's bytes; bound by tensor cores beside some 8 instructions for each of a
// thread's 16 weights a step, paid once for 128 tokens.
template <class T, class Format>
__global__ void __launch_bounds__(kMmaThreads)
    quantized_mma_tiles(Matrix x, QuantizedMatrix weight, Matrix out, unsigned steps,
                        Codebook book) {
  __shared__ MmaStage<T> stages[2];
  __shared__ NibbleTable table;
  if constexpr (Format::kPerByte == 2) {
    RT_UNROLL
    for (unsigned i = 0; i < 16; ++i) {
      if (threadIdx.x < kWarp) table.values[i][threadIdx.x] = book.values[i];
    }
    __syncthreads();
  }
  after_previous();
  QuantizedBlock<T, Format> block(weight, table);
  multiply_blocks(x, block, out, steps, stages);
}

template <class T>
auto kernel_for(Codes kind) {
  return kind == Codes::kInt8  ? quantized_mma_tiles<T, Int8Codes>
         : kind == Codes::kNf4 ? quantized_mma_tiles<T, Nf4Codes>
                               : quantized_mma_tiles<T, Nf4DqCodes>;
}

}  // namespace

void quantized_linear_mma(const Matrix& x, const QuantizedMatrix& weight, const Matrix& out,
                          void* stream) {
  if (x.rows == 0) return;
  const dim3 grid(divide_up(weight.rows, kMmaBlock), divide_up(x.rows, kMmaBlock));
  const auto kernel =
      x.element == Element::kBf16 ? kernel_for<Bf16>(weight.kind) : kernel_for<F16>(weight.kind);
  launch(kernel, grid, kMmaThreads, 0, stream, x, weight, out, divide_up(x.columns, kMmaDepth),
         kNf4Codebook);
}

}  // namespace rt::cuda
