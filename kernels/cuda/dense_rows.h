// Decode's kernels for dense weights, told by a job what they multiply and what becomes of the
// sums. A job has
//
//   Weight              their type
//   kRows               rows of weights that a warp multiplies together: a group
//   kNorms              whether its rows of values may have a norm before them
//   groups()            in all
//   row(g, r)           where row r of group g begins
//   store_sums(...)     called by all lanes, each of which has the sums
//   after               where a norm follows the product of one token (NormAfter)
#pragma once

#include <stdint.h>

#include "kernels/cuda/dot_rows.h"
#include "kernels/cuda/grid.h"
#include "kernels/cuda/norm_after_row.h"
#include "kernels/cuda/normed_rows.h"

namespace rt::cuda {

constexpr unsigned kDenseThreads = 256;
constexpr unsigned kDenseWarps = kDenseThreads / kWarp;
constexpr unsigned kMostTokens = 8;  // that share a read of the weights

// Blocks of 256 threads that run on a multiprocessor at once.
constexpr unsigned dense_blocks(unsigned tokens) {
  return tokens == 1 ? 3 : 2;
}

// Chunks of a row under way: 4 KiB a warp for one token, so that 8 warps of a multiprocessor,
// which is what 2048 rows come to with half of them, keep the 29 KiB under way that an H200 of
// 4.8 TB/s and some 0.8 us wants; sums of eight tokens need the registers.
template <class W>
constexpr unsigned dense_depth(unsigned rows, unsigned tokens) {
  const unsigned chunks = tokens == 1 ? 8 : 4;
  return chunks / rows / (sizeof(W) / 2);
}

template <class Job>
__device__ inline void rows_of(const Job& job, uint64_t group,
                               const typename Job::Weight* (&rows)[Job::kRows]) {
  RT_UNROLL
  for (unsigned r = 0; r < Job::kRows; ++r) rows[r] = job.row(group, r);
}

// The first group of a warp: neighbours go to neighbouring blocks, so that all multiprocessors have
// as many where there are fewer than warps.
__device__ inline uint64_t first_group() {
  return static_cast<uint64_t>(threadIdx.x / kWarp) * gridDim.x + blockIdx.x;
}

// All groups of a warp; the loads of the next are on their way while the sums of one are finished.
template <class X, class Job, unsigned kDepth, unsigned kTokens>
__device__ inline void multiply_groups(RowStream<typename Job::Weight, Job::kRows, kDepth>& stream,
                                       const Job& job, const ProductRows& x, TokenRange tokens) {
  const auto K = static_cast<unsigned>(x.x.columns);
  const X* const values = static_cast<const X*>(x.x.data) + x.tokens.first * K;
  uint64_t group = first_group();
  const typename Job::Weight* rows[Job::kRows];
  rows_of(job, group, rows);
  while (true) {
    const uint64_t following = group + static_cast<uint64_t>(kDenseWarps) * gridDim.x;
    const bool has_next = following < job.groups();
    const typename Job::Weight* next[Job::kRows];
    rows_of(job, has_next ? following : group, next);
    float sums[Job::kRows][kTokens];
    dot_rows(stream, rows, next, has_next, K, values, static_cast<unsigned>(tokens.count), sums);
    job.store_sums(group, tokens, sums);
    if (!has_next) return;
    group = following;
    RT_UNROLL
    for (unsigned r = 0; r < Job::kRows; ++r) rows[r] = next[r];
  }
}

// grid [as many as run at once, or fewer; T / kTokens], block 256, shared memory of kTokens rows of
// values where x is normed. Moves every weight once for every kTokens rows of x; bound by the
// bandwidth of global memory.
template <class Job, unsigned kDepth, unsigned kTokens>
__global__ void __launch_bounds__(kDenseThreads, dense_blocks(kTokens))
    dense_rows(NormedRows normed, Job job) {
  RowStream<typename Job::Weight, Job::kRows, kDepth> stream;
  const bool works = first_group() < job.groups();
  if (works) {
    const typename Job::Weight* rows[Job::kRows];
    rows_of(job, first_group(), rows);
    stream.begin(rows, static_cast<unsigned>(normed.x.columns));
  }
  if constexpr (Job::kNorms) fetch_norm<kDenseThreads>(normed);
  if constexpr (kNormsAfter<Job>) fetch_norm<kDenseThreads>(job.after.product);
  after_previous();
  const TokenRange tokens = tokens_of_block(normed.x, kTokens);
  ProductRows x = {normed.x, tokens};
  if constexpr (Job::kNorms) x = product_rows<kDenseThreads>(normed, tokens);
  if (!works) {
    // has come to the barriers of the norms
  } else if (x.x.element == Element::kF32) {
    multiply_groups<float, Job, kDepth, kTokens>(stream, job, x, tokens);
  } else if (x.x.element == Element::kBf16) {
    multiply_groups<Bf16, Job, kDepth, kTokens>(stream, job, x, tokens);
  } else {
    multiply_groups<F16, Job, kDepth, kTokens>(stream, job, x, tokens);
  }
  if constexpr (kNormsAfter<Job>) norm_after<kDenseThreads>(job.after);
}

// As above, for rows that cannot be read 16 bytes at a time.
template <class Job>
__global__ void __launch_bounds__(kDenseThreads, 2) dense_elements(NormedRows normed, Job job) {
  after_previous();
  const TokenRange tokens = tokens_of_block(normed.x, kMostTokens);
  ProductRows x = {normed.x, tokens};
  if constexpr (Job::kNorms) x = product_rows<kDenseThreads>(normed, tokens);
  for (uint64_t group = first_group(); group < job.groups();
       group += static_cast<uint64_t>(kDenseWarps) * gridDim.x) {
    const typename Job::Weight* rows[Job::kRows];
    rows_of(job, group, rows);
    float sums[Job::kRows][kMostTokens];
    dot_elements(rows, x.x, x.tokens.first, static_cast<unsigned>(tokens.count), sums);
    job.store_sums(group, tokens, sums);
  }
  if constexpr (kNormsAfter<Job>) norm_after<kDenseThreads>(job.after);
}

template <unsigned kTokens, class Job>
void launch_dense(const NormedRows& rows, const Job& job, uint64_t groups, void* stream) {
  const dim3 grid(even_blocks(groups, kDenseWarps, dense_blocks(kTokens)),
                  divide_up(rows.x.rows, kTokens));
  launch(dense_rows<Job, dense_depth<typename Job::Weight>(Job::kRows, kTokens), kTokens>, grid,
         kDenseThreads, normed_bytes(rows, kTokens, rows.x.columns), stream, rows, job);
}

template <class Job>
void launch_dense_elements(const NormedRows& rows, const Job& job, uint64_t groups, void* stream) {
  const dim3 grid(even_blocks(groups, kDenseWarps, dense_blocks(kMostTokens)),
                  divide_up(rows.x.rows, kMostTokens));
  launch(dense_elements<Job>, grid, kDenseThreads, normed_bytes(rows, kMostTokens, rows.x.columns),
         stream, rows, job);
}

}  // namespace rt::cuda
