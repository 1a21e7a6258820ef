// Decode's kernels for quantized weights, told by a job what they multiply and what becomes of the
// sums. A job has
//
//   kLaneRows           outputs of a row of lanes, of kRows rows that it multiplies
//   kMaps, map(i)       of nf4-dq, one for each weight
//   kNorms              whether its rows of values may have a norm before them
//   outputs()           in all
//   part(n, r)          which row of which weight is row r of outputs from n on
//   store_sums(...)     called by the first lane of a row of lanes
#pragma once

#include <stdint.h>

#include <type_traits>

#include "kernels/cuda/normed_rows.h"
#include "kernels/cuda/quantized_decode.h"

namespace rt::cuda {

constexpr unsigned kBlockLanes = kDecodeThreads / kRowLanes;  // rows of lanes: 32

// Blocks take rows in turns from here on, so that a head of 256,000 rows does not fill 8000 tables:
// eight blocks for each multiprocessor of an H100, of which three run at once.
constexpr unsigned kMostBlocks = 1056;

// Row `row` of `weight`; its map is number `map`.
struct CodeRow {
  QuantizedMatrix weight;
  uint64_t row;
  unsigned map;
};

// The first row that this lane's row of lanes has in a turn of the blocks.
template <class Job>
__device__ inline uint64_t first_row(unsigned turn) {
  return (static_cast<uint64_t>(turn) * kBlockLanes + threadIdx.x / kRowLanes) * Job::kLaneRows;
}

// Outputs beyond the last are computed and not stored.
template <class Job>
__device__ inline uint64_t inside(const Job& job, uint64_t n) {
  return n < job.outputs() ? n : job.outputs() - 1;
}

// nf4-dq's map of each weight, f32[256]: 256 threads.
template <class Format, class Job>
__device__ inline void fill_maps(const Job& job, float (&maps)[Job::kMaps][256]) {
  if constexpr (std::is_same_v<Format, Nf4DqCodes>) {
    RT_UNROLL
    for (unsigned i = 0; i < Job::kMaps; ++i) maps[i][threadIdx.x] = job.map(i)[threadIdx.x];
  }
}

// grid [N / (32 kLaneRows), T / kTokens], at most 1056 wide, block 256, 33 to 35 KiB of shared
// memory (1 for each map of nf4-dq; int8 none), and kTokens rows of values where x is normed. Moves
// N K weights for every kTokens rows of x; bound by the bandwidth of global memory, nf4 on an H200
// by shared memory (quantized_decode.h). In flight per warp: two pieces of 16 bytes for each of
// kRows rows of 32 lanes, 2 KiB where kRows is 2.
template <class Format, class X, class Job, unsigned kRows, unsigned kTokens>
__global__ void __launch_bounds__(kDecodeThreads, kTokens == 8 ? 2 : 3)
    quantized_rows(NormedRows normed, Job job, const __grid_constant__ Codebook book) {
  __shared__ PairTable table;
  __shared__ float maps[Job::kMaps][256];
  const TokenRange tokens = tokens_of_block(normed.x, kTokens);
  unsigned turn = blockIdx.x;
  typename Format::Row rows[kRows];
  Piece<Format> pieces[kRows];
  const auto begin = [&] {
    const uint64_t n = first_row<Job>(turn);
    RT_UNROLL
    for (unsigned r = 0; r < kRows; ++r) {
      const CodeRow part = job.part(n, r);
      rows[r] = Format::row(part.weight, maps[part.map], part.row);
      pieces[r] = first_piece<Format>(rows[r], static_cast<unsigned>(normed.x.columns));
    }
  };
  begin();
  if constexpr (Job::kNorms) fetch_norm<kDecodeThreads>(normed);
  if constexpr (Format::kPerByte == 2) {
    fill(table, book);
    fill_maps<Format>(job, maps);
    __syncthreads();
  }
  after_previous();
  ProductRows x = {normed.x, tokens};
  if constexpr (Job::kNorms) x = product_rows<kDecodeThreads>(normed, tokens);
  // All lanes of a warp go round as often: their shuffles meet.
  while (true) {
    float sums[kRows][kTokens];
    dot_pieces<Format, X, kRows, kTokens>(rows, pieces, table, x.x, x.tokens, sums);
    const uint64_t n = first_row<Job>(turn);
    RT_UNROLL
    for (unsigned r = 0; r < kRows; ++r) {
      const CodeRow part = job.part(n, r);
      const float scale = Format::row_scale(part.weight, part.row);
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
    quantized_elements(NormedRows normed, Job job, const __grid_constant__ Codebook book) {
  constexpr unsigned kTokens = 8;
  __shared__ SharedCodebook shared;
  fill(shared, book);
  __syncthreads();
  after_previous();
  const TokenRange tokens = tokens_of_block(normed.x, kTokens);
  ProductRows x = {normed.x, tokens};
  if constexpr (Job::kNorms) x = product_rows<kDecodeThreads>(normed, tokens);
  const uint64_t n = first_row<Job>(blockIdx.x);
  float sums[kRows][kTokens];
  RT_UNROLL
  for (unsigned r = 0; r < kRows; ++r) {
    const CodeRow part = job.part(n, r);
    dot_elements<kTokens>(part.weight, part.row, shared, x.x, x.tokens, sums[r]);
  }
  if (threadIdx.x % kRowLanes == 0) job.store_sums(n, tokens, sums);
}

template <class Format, class X, unsigned kRows, unsigned kTokens, class Job>
void launch_pieces(const NormedRows& rows, const Job& job, uint64_t outputs, void* stream) {
  const unsigned blocks = divide_up(outputs, kBlockLanes * Job::kLaneRows);
  const dim3 grid(blocks < kMostBlocks ? blocks : kMostBlocks, divide_up(rows.x.rows, kTokens));
  launch(quantized_rows<Format, X, Job, kRows, kTokens>, grid, kDecodeThreads,
         normed_bytes(rows, kTokens), stream, rows, job, kNf4Codebook);
}

template <class Format, unsigned kRows, unsigned kTokens, class Job>
void launch_values(const NormedRows& rows, const Job& job, uint64_t outputs, void* stream) {
  const auto launch_for =
      rows.x.element == Element::kF32    ? launch_pieces<Format, float, kRows, kTokens, Job>
      : rows.x.element == Element::kBf16 ? launch_pieces<Format, Bf16, kRows, kTokens, Job>
                                         : launch_pieces<Format, F16, kRows, kTokens, Job>;
  launch_for(rows, job, outputs, stream);
}

template <unsigned kRows, unsigned kTokens, class Job>
void launch_formats(const NormedRows& rows, Codes kind, const Job& job, uint64_t outputs,
                    void* stream) {
  const auto launch_for = kind == Codes::kInt8  ? launch_values<Int8Codes, kRows, kTokens, Job>
                          : kind == Codes::kNf4 ? launch_values<Nf4Codes, kRows, kTokens, Job>
                                                : launch_values<Nf4DqCodes, kRows, kTokens, Job>;
  launch_for(rows, job, outputs, stream);
}

template <unsigned kRows, class Job>
void launch_elements(const NormedRows& rows, const Job& job, uint64_t outputs, void* stream) {
  const dim3 grid(divide_up(outputs, kBlockLanes * Job::kLaneRows), divide_up(rows.x.rows, 8));
  launch(quantized_elements<Job, kRows>, grid, kDecodeThreads, normed_bytes(rows, 8), stream, rows,
         job, kNf4Codebook);
}

}  // namespace rt::cuda
