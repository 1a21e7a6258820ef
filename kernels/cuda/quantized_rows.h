// Decode's kernels for quantized weights, told by a job what they multiply and what becomes of the
// sums. A job has
//
//   kLaneRows           outputs of a row of lanes, of kRows rows that it multiplies
//   kMaps, map(i)       of nf4-dq, one for each weight
//   kNorms              whether its rows of values may have a norm before them
//   outputs()           in all
//   part(n, r)          which row of which weight is row r of outputs from n on
//   finish(n, t, sums)  called by one lane for each token t of x, with the sums of the kRows rows;
//                       n may be beyond the last output
//   after               where a norm follows the product of one token (NormAfter)
#pragma once

#include <stdint.h>

#include <type_traits>

#include "kernels/cuda/dot_rows.h"
#include "kernels/cuda/grid.h"
#include "kernels/cuda/norm_after_row.h"
#include "kernels/cuda/normed_rows.h"
#include "kernels/cuda/quantized_decode.h"

namespace rt::cuda {

// Rows of lanes that a block has in a turn: as teams, and each for itself.
constexpr unsigned kTeamRows = kTeams * kWarpRows;
constexpr unsigned kBlockLanes = kDecodeThreads / kRowLanes;

// Blocks that run on a multiprocessor at once: rows of nf4-dq take twice the registers.
template <class Format, unsigned kTokens>
constexpr unsigned kDecodeBlocks = kTokens == 1 && !std::is_same_v<Format, Nf4DqCodes> ? 3 : 2;

// Pieces of a row under way: 2 KiB a warp for one token.
template <unsigned kRows, unsigned kTokens>
constexpr unsigned kDecodeDepth = kTokens == 1 ? 4 / kRows : 1;

// Row `row` of `weight`; its map is number `map`.
struct CodeRow {
  QuantizedMatrix weight;
  uint64_t row;
  unsigned map;
};

// Outputs beyond the last are computed and not stored.
template <class Job>
__device__ inline uint64_t inside(const Job& job, uint64_t n) {
  return n < job.outputs() ? n : job.outputs() - 1;
}

// The first output that this lane's row of lanes has in a turn of its team.
template <class Job>
__device__ inline uint64_t first_output(unsigned turn) {
  const unsigned team = threadIdx.x / kWarp / kTeamWarps;
  const unsigned row = threadIdx.x % kWarp / kRowLanes;
  return (static_cast<uint64_t>(turn) * kTeamRows + team * kWarpRows + row) * Job::kLaneRows;
}

// nf4-dq's map of each weight, f32[256]: 256 threads.
template <class Format, class Job>
__device__ inline void fill_maps(const Job& job, float (&maps)[Job::kMaps][256]) {
  if constexpr (std::is_same_v<Format, Nf4DqCodes>) {
    RT_UNROLL
    for (unsigned i = 0; i < Job::kMaps; ++i) maps[i][threadIdx.x] = job.map(i)[threadIdx.x];
  }
}

template <class Format, class Job, unsigned kRows>
__device__ inline void code_rows(const Job& job, unsigned turn,
                                 const float (&maps)[Job::kMaps][256],
                                 typename Format::Row (&rows)[kRows]) {
  const uint64_t n = first_output<Job>(turn);
  RT_UNROLL
  for (unsigned r = 0; r < kRows; ++r) {
    const CodeRow part = job.part(n, r);
    rows[r] = Format::row(part.weight, maps[part.map], part.row);
  }
}

// What the warps of a team leave for each other.
template <unsigned kRows, unsigned kTokens>
struct TeamSums {
  float sums[kTeams][kTeamWarps][kWarpRows][kRows][kTokens];
};

// The warps' parts of a turn are joined in their order by the first warp of each team: lane t of a
// row of lanes finishes token t. One barrier a turn: `shared` is another one the next time.
template <class Format, class Job, unsigned kRows, unsigned kTokens>
__device__ inline void join_team(const Job& job, unsigned turn, TokenRange tokens,
                                 const float (&sums)[kRows][kTokens],
                                 TeamSums<kRows, kTokens>& shared) {
  const unsigned team = threadIdx.x / kWarp / kTeamWarps;
  const unsigned part = threadIdx.x / kWarp % kTeamWarps;
  const unsigned row = threadIdx.x % kWarp / kRowLanes;
  const unsigned t = threadIdx.x % kRowLanes;
  static_assert(kTokens <= kRowLanes);
  if (t < kTokens) {
    RT_UNROLL
    for (unsigned r = 0; r < kRows; ++r) {
      shared.sums[team][part][row][r][t] = sum_of_lane(sums, r, t);
    }
  }
  __syncthreads();
  if (part != 0 || t >= kTokens || t >= tokens.count) return;
  const uint64_t n = first_output<Job>(turn);
  float whole[kRows];
  RT_UNROLL
  for (unsigned r = 0; r < kRows; ++r) {
    whole[r] = 0;
    RT_UNROLL
    for (unsigned p = 0; p < kTeamWarps; ++p) whole[r] += shared.sums[team][p][row][r][t];
    const CodeRow code_row = job.part(n, r);
    whole[r] *= Format::row_scale(code_row.weight, code_row.row);
  }
  job.finish(n, tokens.first + t, whole);
}

// Rows of values for the lanes of a team: normed ones are put in their order, others lie as the
// launch says, or where a norm did not fit into the block as they are counted.
template <class Format, class X, bool kOrdered>
__device__ inline ProductRows team_rows(const NormedRows& rows, TokenRange tokens) {
  if constexpr (!kOrdered) return product_rows<kDecodeThreads>(rows, tokens);
  return product_rows<kDecodeThreads>(
      rows, tokens, [](const Matrix& normed, uint64_t t, uint64_t d, const float* y) {
        X* const row = static_cast<X*>(normed.data) + t * ordered_stride(normed.columns);
        const Raw8<X> raw = pack(y, row);
        constexpr unsigned kLoad = 16 / sizeof(X);
        RT_UNROLL
        for (unsigned i = 0; i < 8 / kLoad; ++i) {
          X* const at = row + ordered<Format, X>(d + i * kLoad);
          *reinterpret_cast<Bytes16*>(at) = raw.parts[i];
        }
      });
}

// grid [as many as run at once, or fewer; T / kTokens], block 256, 33 to 39 KiB of shared memory (1
// for each map of nf4-dq; int8 4 at most), and kTokens rows of values where x is normed. Moves N K
// weights for every kTokens rows of x; bound by the bandwidth of global memory, nf4 on an H200 by
// shared memory (quantized_decode.h).
template <class Format, class X, class Job, unsigned kRows, unsigned kTokens, bool kOrdered>
__global__ void __launch_bounds__(kDecodeThreads, kDecodeBlocks<Format, kTokens>)
    quantized_rows(NormedRows normed, Job job, const __grid_constant__ Codebook book) {
  __shared__ PairTable table;
  __shared__ float maps[Job::kMaps][256];
  __shared__ TeamSums<kRows, kTokens> sums_of_turn[2];
  const TokenRange tokens = tokens_of_block(normed.x, kTokens);
  const auto K = static_cast<unsigned>(normed.x.columns);
  constexpr unsigned kOutputs = kTeamRows * Job::kLaneRows;  // of a turn
  const auto turns = static_cast<unsigned>((job.outputs() + kOutputs - 1) / kOutputs);
  unsigned turn = blockIdx.x;
  PieceStream<Format, kRows, kDecodeDepth<kRows, kTokens>> stream;
  typename Format::Row rows[kRows];
  code_rows<Format>(job, turn, maps, rows);
  stream.begin(rows, turn < turns ? K : 0);
  if constexpr (Job::kNorms) fetch_norm<kDecodeThreads>(normed);
  if constexpr (kNormsAfter<Job>) fetch_norm<kDecodeThreads>(job.after.product);
  if constexpr (Format::kPerByte == 2) {
    fill(table, book);
    fill_maps<Format>(job, maps);
    __syncthreads();
  }
  after_previous();
  ProductRows x = {normed.x, tokens};
  if constexpr (Job::kNorms) x = team_rows<Format, X, kOrdered>(normed, tokens);
  const auto stride = kOrdered ? static_cast<unsigned>(ordered_stride(K)) : K;
  const X* const values = static_cast<const X*>(x.x.data) + x.tokens.first * stride;
  // All warps of the block go round as often: they meet at a barrier.
  for (unsigned round = 0; turn < turns; ++round) {
    const unsigned following = turn + gridDim.x;
    typename Format::Row next[kRows];
    code_rows<Format>(job, following < turns ? following : turn, maps, next);
    float sums[kRows][kTokens];
    dot_pieces<kOrdered>(stream, rows, next, following < turns, table, values, K, stride,
                         static_cast<unsigned>(tokens.count), sums);
    join_team<Format>(job, turn, tokens, sums, sums_of_turn[round % 2]);
    turn = following;
    RT_UNROLL
    for (unsigned r = 0; r < kRows; ++r) rows[r] = next[r];
  }
  if constexpr (kNormsAfter<Job>) norm_after<kDecodeThreads>(job.after);
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
  const uint64_t row = static_cast<uint64_t>(blockIdx.x) * kBlockLanes + threadIdx.x / kRowLanes;
  const uint64_t n = row * Job::kLaneRows;
  float sums[kRows][kTokens];
  RT_UNROLL
  for (unsigned r = 0; r < kRows; ++r) {
    const CodeRow part = job.part(n, r);
    dot_elements<kTokens>(part.weight, part.row, shared, x.x, x.tokens, sums[r]);
  }
  const unsigned t = threadIdx.x % kRowLanes;
  if (t < tokens.count) {
    float whole[kRows];
    RT_UNROLL
    for (unsigned r = 0; r < kRows; ++r) whole[r] = sum_of_lane(sums, r, t);
    job.finish(n, tokens.first + t, whole);
  }
  if constexpr (kNormsAfter<Job>) norm_after<kDecodeThreads>(job.after);
}

template <class Format, class X, unsigned kRows, unsigned kTokens, bool kOrdered, class Job>
void launch_pieces(const NormedRows& rows, const Job& job, uint64_t outputs, void* stream) {
  const uint64_t turns = divide_up(outputs, kTeamRows * Job::kLaneRows);
  const unsigned blocks = even_blocks(turns, 1, kDecodeBlocks<Format, kTokens>);
  const dim3 grid(blocks, divide_up(rows.x.rows, kTokens));
  launch(quantized_rows<Format, X, Job, kRows, kTokens, kOrdered>, grid, kDecodeThreads,
         normed_bytes(rows, kTokens, ordered_columns(rows.x.columns)), stream, rows, job,
         kNf4Codebook);
}

// Values are in order where the kernel norms them or `order` says that they lie so, which f32 may.
template <class Format, unsigned kRows, unsigned kTokens, class Job>
void launch_values(const NormedRows& rows, ValueOrder order, const Job& job, uint64_t outputs,
                   void* stream) {
  if constexpr (Job::kNorms) {
    if (rows.weight.data != nullptr) {
      const auto launch_for = rows.x.element == Element::kF32
                                  ? launch_pieces<Format, float, kRows, kTokens, true, Job>
                              : rows.x.element == Element::kBf16
                                  ? launch_pieces<Format, Bf16, kRows, kTokens, true, Job>
                                  : launch_pieces<Format, F16, kRows, kTokens, true, Job>;
      return launch_for(rows, job, outputs, stream);
    }
  } else if constexpr (kRows == 2) {
    if (order != ValueOrder::kCounted) {
      return launch_pieces<Format, float, kRows, kTokens, true>(rows, job, outputs, stream);
    }
  }
  const auto launch_for =
      rows.x.element == Element::kF32    ? launch_pieces<Format, float, kRows, kTokens, false, Job>
      : rows.x.element == Element::kBf16 ? launch_pieces<Format, Bf16, kRows, kTokens, false, Job>
                                         : launch_pieces<Format, F16, kRows, kTokens, false, Job>;
  launch_for(rows, job, outputs, stream);
}

template <unsigned kRows, unsigned kTokens, class Job>
void launch_formats(const NormedRows& rows, ValueOrder order, Codes kind, const Job& job,
                    uint64_t outputs, void* stream) {
  const auto launch_for = kind == Codes::kInt8  ? launch_values<Int8Codes, kRows, kTokens, Job>
                          : kind == Codes::kNf4 ? launch_values<Nf4Codes, kRows, kTokens, Job>
                                                : launch_values<Nf4DqCodes, kRows, kTokens, Job>;
  launch_for(rows, order, job, outputs, stream);
}

template <unsigned kRows, class Job>
void launch_elements(const NormedRows& rows, const Job& job, uint64_t outputs, void* stream) {
  const dim3 grid(divide_up(outputs, kBlockLanes * Job::kLaneRows), divide_up(rows.x.rows, 8));
  launch(quantized_elements<Job, kRows>, grid, kDecodeThreads,
         normed_bytes(rows, 8, rows.x.columns), stream, rows, job, kNf4Codebook);
}

}  // namespace rt::cuda
