// Matrix products of many tokens with AVX-512: out[t, n] = sum over k of x[t, k] * w[n, k], where
// any weight format can take part that can write a few of its rows as plain numbers.
//
// Both operands lie K-major, so a tile of M tokens x 8 weight rows is M * 8 dot products: both are
// loaded 64 bytes at a time, nothing is broadcast or transposed, and lanes are summed when a run
// ends. 3 x 8 sums and 4 operands fit in 32 registers and need 11 loads for 24 multiply-adds, where
// two of each fit a cycle.
//
// K is cut into runs of 2 KiB (512 f32, 1024 bf16). Of a run, 8 weight rows (the panel, 16 KiB)
// are written side by side and stay in the first-level cache while all tokens pass by (in blocks of
// kBlockRows, 384 KiB, second-level cache), 16 bytes a cycle. Rows in place would not do: they lie
// K apart, often a power of two, which caches cannot keep. (Runs of 4 KiB need fewer sums over
// lanes: 2 % more at 64 tokens, but 20 % less at 8, and twice the cache.)
//
// The order of an element's sum depends on K alone: within a run lane j of one chain takes the
// steps' j-th elements in order, lanes are added as sum_lanes8 says, runs in order.
//
// An Arithmetic says what a step of 64 bytes is:
//
//   kRunColumns                    elements in a run
//   steps(count)                   of 64 bytes that count elements of a run take
//   pack(x, count, to)             to = count elements of x f32[K], and zeros to a whole step
//   add(sum, a, b)                 sum + a . b, lane by lane, both 64 bytes
//
// A Weight writes its rows in the Arithmetic's form:
//
//   void gather(n, rows, k, count, panel) const
//       rows [n, n + rows), rows in 1..8, of columns [k, k + count) to panel + i * 2 KiB, 64-byte
//       aligned, with zeros up to a whole step; k is a multiple of kRunColumns, count <= it. The
//       rows beyond hold finite numbers of earlier calls and are computed in vain.
//   Ahead ahead(n, k) const
//       where that data comes from, to be fetched while the panel before it is in use.
#pragma once

#include "kernels/cpu/vector_avx512.h"

namespace rt::cpu {

constexpr uint64_t kRunBytes = 2048;
constexpr uint64_t kTileRows = 8;
constexpr uint64_t kTileTokens = 3;
constexpr uint64_t kBlockRows = 192;  // of tokens x runs: f32[192, 512] is 384 KiB

// Rows `pitch` bytes apart of which a step reads `step_bytes`.
struct Ahead {
  const char* address;
  uint64_t pitch;
  uint64_t step_bytes;
};

// f32 operands and sums.
struct F32Arithmetic {
  static constexpr uint64_t kRunColumns = kRunBytes / 4;
  static constexpr uint64_t steps(uint64_t count) { return (count + 15) / 16; }

  static inline void pack(const float* x, uint64_t count, char* to) {
    uint64_t k = 0;
    for (; k + 16 <= count; k += 16) _mm512_store_ps(to + k * 4, _mm512_loadu_ps(x + k));
    if (k < count) {
      _mm512_store_ps(to + k * 4, _mm512_maskz_loadu_ps(first_lanes(count - k), x + k));
    }
  }
  static inline __m512 add(__m512 sum, __m512 a, __m512 b) { return _mm512_fmadd_ps(a, b, sum); }
};

// The dot products of M tokens and the panel, `steps` long. Meanwhile `ahead_rows` rows are
// fetched.
template <class Arithmetic, int M>
static inline void add_steps(const char* tokens, const char* panel, uint64_t steps,
                             const Ahead& ahead, uint64_t ahead_rows, __m512 (*sums)[kTileRows]) {
  RT_UNROLL
  for (int m = 0; m < M; ++m) {
    RT_UNROLL
    for (uint64_t i = 0; i < kTileRows; ++i) sums[m][i] = _mm512_setzero_ps();
  }
  for (uint64_t s = 0; s < steps; ++s) {
    const char* fetched = ahead.address + s * ahead.step_bytes;
    for (uint64_t i = 0; i < ahead_rows; ++i) _mm_prefetch(fetched + i * ahead.pitch, _MM_HINT_T1);
    __m512 token[M];
    RT_UNROLL
    for (int m = 0; m < M; ++m) token[m] = _mm512_load_ps(tokens + m * kRunBytes + s * 64);
    RT_UNROLL
    for (uint64_t i = 0; i < kTileRows; ++i) {
      __m512 weight = _mm512_load_ps(panel + i * kRunBytes + s * 64);
      // In a register: g++ would give each of M sums a load of its own, 27 for 24, which are more
      // than two a cycle.
      asm("" : "+v"(weight));
      RT_UNROLL
      for (int m = 0; m < M; ++m) sums[m][i] = Arithmetic::add(sums[m][i], token[m], weight);
    }
  }
}

// Where a tile's results go: the first run of a sum stores, later ones add.
struct Target {
  float* out;
  uint64_t stride;
  __mmask8 rows;
  bool first;
};

template <int M>
static inline void finish_run(const __m512 (*sums)[kTileRows], const Target& target) {
  RT_UNROLL
  for (int m = 0; m < M; ++m) {
    float* to = target.out + m * target.stride;
    __m256 sum = sum_lanes8(sums[m]);
    if (!target.first) sum = _mm256_add_ps(_mm256_maskz_loadu_ps(target.rows, to), sum);
    _mm256_mask_storeu_ps(to, target.rows, sum);
  }
}

template <class Arithmetic, int M>
static inline void multiply_tile(const char* tokens, const char* panel, uint64_t steps,
                                 const Ahead& ahead, uint64_t ahead_rows, const Target& target) {
  for (int m = 0; m < M; ++m) _mm_prefetch(target.out + m * target.stride, _MM_HINT_T0);
  __m512 sums[M][kTileRows];
  add_steps<Arithmetic, M>(tokens, panel, steps, ahead, ahead_rows, sums);
  finish_run<M>(sums, target);
}

// All tokens of a block and one panel: groups of nearly equal size, at most kTileTokens each, and
// each fetches its part of the rows ahead.
template <class Arithmetic>
static inline void multiply_panel(const char* tokens, uint64_t count, const char* panel,
                                  uint64_t steps, const Ahead& ahead, const Target& target) {
  const uint64_t groups = (count + kTileTokens - 1) / kTileTokens;
  for (uint64_t g = 0; g < groups; ++g) {
    const uint64_t t = count * g / groups;
    const uint64_t row = kTileRows * g / groups;
    const uint64_t ahead_rows = kTileRows * (g + 1) / groups - row;
    const Ahead part = {ahead.address + row * ahead.pitch, ahead.pitch, ahead.step_bytes};
    const Target to = {target.out + t * target.stride, target.stride, target.rows, target.first};
    const char* from = tokens + t * kRunBytes;
    switch (count * (g + 1) / groups - t) {
      case 1:
        multiply_tile<Arithmetic, 1>(from, panel, steps, part, ahead_rows, to);
        break;
      case 2:
        multiply_tile<Arithmetic, 2>(from, panel, steps, part, ahead_rows, to);
        break;
      default:
        multiply_tile<Arithmetic, 3>(from, panel, steps, part, ahead_rows, to);
    }
  }
}

// Of K the runs [k, k_end), for tokens that are packed: `from` char[runs][tokens][kRunBytes]. Every
// weight row passes by once.
template <class Arithmetic, class Weight>
static inline void multiply_runs(const char* from, uint64_t tokens, uint64_t k_begin,
                                 uint64_t k_end, const Weight& weight, uint64_t begin, uint64_t end,
                                 float* out, uint64_t stride) {
  constexpr uint64_t kRunColumns = Arithmetic::kRunColumns;
  alignas(64) char panel[kTileRows * kRunBytes];
  memset(panel, 0, sizeof panel);
  for (uint64_t n = begin; n < end; n += kTileRows) {
    const uint64_t rows = end - n < kTileRows ? end - n : kTileRows;
    const char* packed = from;
    for (uint64_t k = k_begin; k < k_end; k += kRunColumns, packed += tokens * kRunBytes) {
      const uint64_t count = k_end - k < kRunColumns ? k_end - k : kRunColumns;
      weight.gather(n, rows, k, count, panel);
      const bool more = k + kRunColumns < k_end;
      const Ahead ahead = weight.ahead(more ? n : n + kTileRows, more ? k + kRunColumns : k_begin);
      const Target target = {out + n - begin, stride, (__mmask8)((1u << rows) - 1), k == 0};
      multiply_panel<Arithmetic>(packed, tokens, panel, Arithmetic::steps(count), ahead, target);
    }
  }
}

// A block of tokens, and of K the runs [k, k_end): packed once, then multiplied.
template <class Arithmetic, class Weight>
static inline void multiply_block(const float* x, uint64_t tokens, uint64_t K, uint64_t k_begin,
                                  uint64_t k_end, const Weight& weight, uint64_t begin,
                                  uint64_t end, float* out, uint64_t stride) {
  constexpr uint64_t kRunColumns = Arithmetic::kRunColumns;
  alignas(64) char packed[kBlockRows * kRunBytes];
  char* to = packed;
  for (uint64_t k = k_begin; k < k_end; k += kRunColumns) {
    const uint64_t count = k_end - k < kRunColumns ? k_end - k : kRunColumns;
    for (uint64_t t = 0; t < tokens; ++t, to += kRunBytes) {
      Arithmetic::pack(x + t * K + k, count, to);
    }
  }
  multiply_runs<Arithmetic>(packed, tokens, k_begin, k_end, weight, begin, end, out, stride);
}

// Columns of K, in whole runs, that so many tokens take at once: few leave room for several runs,
// so that a weight is read in long pieces.
template <class Arithmetic>
static inline uint64_t block_columns(uint64_t tokens) {
  return (tokens < kBlockRows ? kBlockRows / tokens : 1) * Arithmetic::kRunColumns;
}

// All of K for tokens that are packed, char[runs][tokens][kRunBytes].
template <class Arithmetic, class Weight>
static inline void multiply_packed(const void* packed, uint64_t tokens, uint64_t K,
                                   const Weight& weight, uint64_t begin, uint64_t end, float* out,
                                   uint64_t stride) {
  const uint64_t columns = block_columns<Arithmetic>(tokens);
  for (uint64_t k = 0; k < K; k += columns) {
    const uint64_t k_end = K - k < columns ? K : k + columns;
    const char* from = (const char*)packed + k / Arithmetic::kRunColumns * tokens * kRunBytes;
    multiply_runs<Arithmetic>(from, tokens, k, k_end, weight, begin, end, out, stride);
  }
}

// x f32[tokens, K]; columns [begin, end) of the result; `out` is where column `begin` of row 0
// goes, rows are `stride` apart. Takes 400 KiB of stack.
template <class Arithmetic, class Weight>
static inline void multiply_many(const float* x, uint64_t tokens, uint64_t K, const Weight& weight,
                                 uint64_t begin, uint64_t end, float* out, uint64_t stride) {
  for (uint64_t t = 0; t < tokens; t += kBlockRows) {
    const uint64_t rows = tokens - t < kBlockRows ? tokens - t : kBlockRows;
    const uint64_t columns = block_columns<Arithmetic>(rows);
    for (uint64_t k = 0; k < K; k += columns) {
      const uint64_t k_end = K - k < columns ? K : k + columns;
      multiply_block<Arithmetic>(x + t * K, rows, K, k, k_end, weight, begin, end, out + t * stride,
                                 stride);
    }
  }
}

}  // namespace rt::cpu
