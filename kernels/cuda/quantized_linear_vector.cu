#include <stdint.h>

#include <type_traits>

#include "kernels/cuda/activation.h"
#include "kernels/cuda/quantized_decode.h"
#include "kernels/cuda/quantized_linear.h"

namespace rt::cuda {
namespace {

constexpr unsigned kBlockLanes = kDecodeThreads / kRowLanes;  // rows of lanes: 32

// Blocks take rows in turns from here on, so that a head of 256,000 rows does not fill 8000 tables:
// eight blocks for each multiprocessor of an H100, of which three run at once.
constexpr unsigned kMostBlocks = 1056;

// Below this many rows two rows per lane leave multiprocessors without work.
constexpr uint64_t kManyRows = 4096;

__device__ inline TokenRange tokens_of_block(const Matrix& x, unsigned most) {
  const uint64_t first = static_cast<uint64_t>(blockIdx.y) * most;
  const uint64_t left = x.rows - first;
  return {first, left < most ? left : most};
}

// What differs between a product and gate and up: which row of which weight a lane's row r is, and
// what becomes of the sums.
template <unsigned kRows>
struct Product {
  static constexpr unsigned kLaneRows = kRows;  // of out, per lane
  QuantizedMatrix weight;
  Matrix out;

  __device__ uint64_t outputs() const { return weight.rows; }
  __device__ const QuantizedMatrix& matrix(unsigned) const { return weight; }
  __device__ static unsigned row_step(unsigned r) { return r; }
  template <unsigned kTokens>
  __device__ void store_sums(uint64_t n, TokenRange tokens,
                             const float (&sums)[kRows][kTokens]) const {
    RT_UNROLL
    for (unsigned r = 0; r < kRows; ++r) {
      RT_UNROLL
      for (unsigned t = 0; t < kTokens; ++t) {
        if (n + r >= weight.rows || t >= tokens.count) continue;
        store(out.data, out.element, (tokens.first + t) * out.columns + n + r, sums[r][t]);
      }
    }
  }
};

// A lane has a row of gate and the row of up that it meets, so that hidden is written once.
struct GateUp {
  static constexpr unsigned kLaneRows = 1;
  QuantizedMatrix gate, up;
  Activation activation;
  Matrix hidden;

  __device__ uint64_t outputs() const { return gate.rows; }
  __device__ const QuantizedMatrix& matrix(unsigned r) const { return r == 0 ? gate : up; }
  __device__ static unsigned row_step(unsigned) { return 0; }
  template <unsigned kTokens>
  __device__ void store_sums(uint64_t n, TokenRange tokens, const float (&sums)[2][kTokens]) const {
    RT_UNROLL
    for (unsigned t = 0; t < kTokens; ++t) {
      if (n >= gate.rows || t >= tokens.count) continue;
      store(hidden.data, hidden.element, (tokens.first + t) * hidden.columns + n,
            activated(sums[0][t], sums[1][t], activation));
    }
  }
};

// The first row that this lane's row of lanes has in a turn of the blocks.
template <class Job>
__device__ inline uint64_t first_row(unsigned turn) {
  return (static_cast<uint64_t>(turn) * kBlockLanes + threadIdx.x / kRowLanes) * Job::kLaneRows;
}

template <class Job, unsigned kRows>
__device__ inline uint64_t row_of(const Job& job, uint64_t n, unsigned r) {
  const uint64_t row = n + Job::row_step(r);
  return row < job.outputs() ? row : job.outputs() - 1;  // computed and not stored
}

// nf4-dq's map of each weight, f32[256]: 256 threads.
template <class Format, class Job>
__device__ inline void fill_maps(const Job& job, float (&maps)[2][256]) {
  if constexpr (std::is_same_v<Format, Nf4DqCodes>) {
    maps[0][threadIdx.x] = job.matrix(0).map[threadIdx.x];
    maps[1][threadIdx.x] = job.matrix(1).map[threadIdx.x];
  }
}

// grid [N / (32 kLaneRows), T / kTokens], at most 1056 wide, block 256, 34 KiB of shared memory (2
// of them for nf4-dq; int8 none). Moves N K weights for every kTokens rows of x; bound by the
// bandwidth of global memory, nf4 on an H200 by shared memory (quantized_decode.h). In flight per
// warp: two pieces of 16 bytes for each of kRows rows of 32 lanes, 2 KiB where kRows is 2.
template <class Format, class X, class Job, unsigned kRows, unsigned kTokens>
__global__ void __launch_bounds__(kDecodeThreads) quantized_rows(Matrix x, Job job, Codebook book) {
  __shared__ PairTable table;
  __shared__ float maps[2][256];
  const TokenRange tokens = tokens_of_block(x, kTokens);
  unsigned turn = blockIdx.x;
  typename Format::Row rows[kRows];
  Piece<Format> pieces[kRows];
  const auto begin = [&] {
    const uint64_t n = first_row<Job>(turn);
    RT_UNROLL
    for (unsigned r = 0; r < kRows; ++r) {
      rows[r] = Format::row(job.matrix(r), maps[Job::kLaneRows == 1 ? r : 0],
                            row_of<Job, kRows>(job, n, r));
      pieces[r] = first_piece<Format>(rows[r], static_cast<unsigned>(x.columns));
    }
  };
  begin();
  if constexpr (Format::kPerByte == 2) {
    fill(table, book);
    fill_maps<Format>(job, maps);
    __syncthreads();
  }
  // All lanes of a warp go round as often: their shuffles meet.
  while (true) {
    float sums[kRows][kTokens];
    dot_pieces<Format, X, kRows, kTokens>(rows, pieces, table, x, tokens, sums);
    const uint64_t n = first_row<Job>(turn);
    RT_UNROLL
    for (unsigned r = 0; r < kRows; ++r) {
      const float scale = Format::row_scale(job.matrix(r), row_of<Job, kRows>(job, n, r));
      RT_UNROLL
      for (unsigned t = 0; t < kTokens; ++t) sums[r][t] *= scale;
    }
    if (threadIdx.x % kRowLanes == 0) job.store_sums(n, tokens, sums);
    turn += gridDim.x;
    if (static_cast<uint64_t>(turn) * kBlockLanes * Job::kLaneRows >= job.outputs()) return;
    begin();
  }
}

// As above, for widths that are no whole pieces: grid [N / 32 kLaneRows, T / 8].
template <class Job, unsigned kRows>
__global__ void __launch_bounds__(kDecodeThreads, 2)
    quantized_elements(Matrix x, Job job, Codebook book) {
  constexpr unsigned kTokens = 8;
  __shared__ SharedCodebook shared;
  fill(shared, book);
  __syncthreads();
  const TokenRange tokens = tokens_of_block(x, kTokens);
  const uint64_t n = first_row<Job>(blockIdx.x);
  float sums[kRows][kTokens];
  RT_UNROLL
  for (unsigned r = 0; r < kRows; ++r) {
    dot_elements<kTokens>(job.matrix(r), row_of<Job, kRows>(job, n, r), shared, x, tokens, sums[r]);
  }
  if (threadIdx.x % kRowLanes == 0) job.store_sums(n, tokens, sums);
}

template <class Format, class X, unsigned kRows, unsigned kTokens, class Job>
void launch_pieces(const Matrix& x, const Job& job, uint64_t outputs, void* stream) {
  const unsigned blocks = divide_up(outputs, kBlockLanes * Job::kLaneRows);
  const dim3 grid(blocks < kMostBlocks ? blocks : kMostBlocks, divide_up(x.rows, kTokens));
  launch(quantized_rows<Format, X, Job, kRows, kTokens>, grid, kDecodeThreads, 0, stream, x, job,
         kNf4Codebook);
}

template <class Format, unsigned kRows, unsigned kTokens, class Job>
void launch_values(const Matrix& x, const Job& job, uint64_t outputs, void* stream) {
  const auto launch_for =
      x.element == Element::kF32    ? launch_pieces<Format, float, kRows, kTokens, Job>
      : x.element == Element::kBf16 ? launch_pieces<Format, Bf16, kRows, kTokens, Job>
                                    : launch_pieces<Format, F16, kRows, kTokens, Job>;
  launch_for(x, job, outputs, stream);
}

template <unsigned kRows, unsigned kTokens, class Job>
void launch_formats(const Matrix& x, Codes kind, const Job& job, uint64_t outputs, void* stream) {
  const auto launch_for = kind == Codes::kInt8  ? launch_values<Int8Codes, kRows, kTokens, Job>
                          : kind == Codes::kNf4 ? launch_values<Nf4Codes, kRows, kTokens, Job>
                                                : launch_values<Nf4DqCodes, kRows, kTokens, Job>;
  launch_for(x, job, outputs, stream);
}

template <unsigned kRows, class Job>
void launch_elements(const Matrix& x, const Job& job, uint64_t outputs, void* stream) {
  const dim3 grid(divide_up(outputs, kBlockLanes * Job::kLaneRows), divide_up(x.rows, 8));
  launch(quantized_elements<Job, kRows>, grid, kDecodeThreads, 0, stream, x, job, kNf4Codebook);
}

}  // namespace

void quantized_linear_vector(const Matrix& x, const QuantizedMatrix& weight, const Matrix& out,
                             void* stream) {
  if (x.rows == 0) return;
  const uint64_t N = weight.rows;
  const Product<2> two = {weight, out};
  const Product<1> one = {weight, out};
  if (!in_pieces(weight, x)) return launch_elements<1>(x, one, N, stream);
  if (x.rows > 1) return launch_formats<2, 8>(x, weight.kind, two, N, stream);
  if (N >= kManyRows) return launch_formats<2, 1>(x, weight.kind, two, N, stream);
  launch_formats<1, 1>(x, weight.kind, one, N, stream);
}

void quantized_gate_up_vector(const Matrix& x, const QuantizedMatrix& gate,
                              const QuantizedMatrix& up, Activation activation,
                              const Matrix& hidden, void* stream) {
  if (x.rows == 0) return;
  const GateUp job = {gate, up, activation, hidden};
  if (!in_pieces(gate, x)) return launch_elements<2>(x, job, gate.rows, stream);
  if (x.rows > 1) return launch_formats<2, 8>(x, gate.kind, job, gate.rows, stream);
  launch_formats<2, 1>(x, gate.kind, job, gate.rows, stream);
}

}  // namespace rt::cuda
