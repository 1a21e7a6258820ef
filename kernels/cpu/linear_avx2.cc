// Matrix products with AVX2 and FMA, in the order of sums that linear.h fixes.
//
// Few tokens (decode): bound by reading the weight once. Bytes moved: N K bytes(element). A thread
// walks its rows from front to back and prefetches one line per line, kAhead bytes in front.
//
// Many tokens (prefill): bound by FMA. A panel of kPanelRows weight rows x one chain of a run is
// widened once (16 KiB of 32 KiB first-level cache) and met by all tokens in tiles of 3 tokens x 4
// weight rows: 12 sums on 7 loads, where 2 FMA and 2 loads fit a cycle.
#include "kernels/cpu/linear.h"
#include "kernels/cpu/vector_avx2.h"

namespace rt::cpu {
namespace {

constexpr uint64_t kAhead = 4096;             // bytes
constexpr uint64_t kPanelRows = 16;           // weight rows
constexpr uint64_t kPanelColumns = kRun / 4;  // of one chain
constexpr uint64_t kPanelTokens = 192;        // sums f32[192, 16]: 12 KiB
constexpr uint64_t kCycle = 4 * kBlock;       // from a chain's block to its next

// --- few tokens

// One block of chain c, `count` <= kBlock elements, for M rows of x.
template <Element element, int M>
inline void add_block(const float* x, uint64_t K, const unsigned char* w, uint64_t count, int c,
                      __m256 (*chains)[4]) {
  for (uint64_t k = 0; k < count; k += 8) {
    const uint64_t part = count - k < 8 ? count - k : 8;
    const __m256 weight = load_part<element>(w + k * kBytes<element>, part);
    RT_UNROLL
    for (int m = 0; m < M; ++m) {
      chains[m][c] =
          _mm256_fmadd_ps(load_part<Element::kF32>(x + m * K + k, part), weight, chains[m][c]);
    }
  }
}

// Adds the product of one run, `count` <= kRun elements at w, with M rows of x to M totals.
template <Element element, int M>
inline void add_run(const float* x, uint64_t K, const unsigned char* w, uint64_t count,
                    float* totals) {
  __m256 chains[M][4];
  RT_UNROLL
  for (int m = 0; m < M; ++m) {
    RT_UNROLL
    for (int c = 0; c < 4; ++c) chains[m][c] = _mm256_setzero_ps();
  }
  uint64_t k = 0;
  for (; k + kCycle <= count; k += kCycle) {
    const unsigned char* from = w + k * kBytes<element>;
    for (uint64_t line = 0; line < kCycle * kBytes<element>; line += 64) {
      _mm_prefetch((const char*)from + kAhead + line, _MM_HINT_T0);
    }
    RT_UNROLL
    for (int c = 0; c < 4; ++c) {  // in the order of addresses: the other way costs 10 %
      RT_UNROLL
      for (uint64_t i = 0; i < kBlock; i += 8) {
        const uint64_t at = c * kBlock + i;
        const __m256 weight = load<element>(from + at * kBytes<element>);
        RT_UNROLL
        for (int m = 0; m < M; ++m) {
          chains[m][c] = _mm256_fmadd_ps(_mm256_loadu_ps(x + m * K + k + at), weight, chains[m][c]);
        }
      }
    }
  }
  for (int c = 0; c < 4 && k < count; ++c, k += kBlock) {
    const uint64_t part = count - k < kBlock ? count - k : kBlock;
    add_block<element, M>(x + k, K, w + k * kBytes<element>, part, c, chains);
  }
  RT_UNROLL
  for (int m = 0; m < M; ++m) {
    float four[4];
    _mm_storeu_ps(four, sum_lanes(chains[m][0], chains[m][1], chains[m][2], chains[m][3]));
    RT_UNROLL
    for (int c = 0; c < 4; ++c) totals[m] += four[c];
  }
}

// One weight row times M rows of x; out is a column.
template <Element element, int M>
inline void multiply_row(const float* x, uint64_t K, const unsigned char* w, float* out,
                         uint64_t stride) {
  float totals[M] = {};
  uint64_t k = 0;
  for (; k + kRun <= K; k += kRun) {
    add_run<element, M>(x + k, K, w + k * kBytes<element>, kRun, totals);
  }
  if (k < K) add_run<element, M>(x + k, K, w + k * kBytes<element>, K - k, totals);
  for (int m = 0; m < M; ++m) out[m * stride] = totals[m];
}

// M tokens, then `others`, which find the row in the first-level cache.
template <Element element, int M, int others = 0>
void few_tokens(const float* x, const Matrix& weight, uint64_t begin, uint64_t end, float* out,
                uint64_t stride) {
  const uint64_t K = weight.columns;
  const uint64_t row_bytes = K * kBytes<element>;
  const unsigned char* w = (const unsigned char*)weight.data + begin * row_bytes;
  for (uint64_t n = begin; n < end; ++n, w += row_bytes, ++out) {
    multiply_row<element, M>(x, K, w, out, stride);
    if constexpr (others > 0) {
      multiply_row<element, others>(x + M * K, K, w, out + M * stride, stride);
    }
  }
}

// --- many tokens

// One chain of one run of a weight row: its blocks begin at 0, kCycle, ... and end at `count`.
// panel[kPanelColumns] = its elements side by side. What lies `next` bytes further is fetched
// ahead.
template <Element element>
inline void fill_row(const unsigned char* w, uint64_t count, uint64_t next, float* panel) {
  for (uint64_t k = 0; k < count; k += kCycle, panel += kBlock) {
    const unsigned char* from = w + k * kBytes<element>;
    _mm_prefetch((const char*)from + next, _MM_HINT_T0);
    uint64_t i = 0;
    for (; i < kBlock && k + i + 8 <= count; i += 8) {
      _mm256_store_ps(panel + i, load<element>(from + i * kBytes<element>));
    }
    if (i < kBlock && k + i < count) {
      _mm256_store_ps(panel + i, load_part<element>(from + i * kBytes<element>, count - k - i));
    }
  }
}

// sums f32[M, kPanelRows] += x[M, chain] panel^T, for four rows of the panel.
template <int M>
inline void add_tile(const float* x, uint64_t K, uint64_t count, const float* panel, float* sums) {
  __m256 chains[M][4];
  RT_UNROLL
  for (int m = 0; m < M; ++m) {
    RT_UNROLL
    for (int i = 0; i < 4; ++i) chains[m][i] = _mm256_setzero_ps();
  }
  uint64_t k = 0;
  for (; k + kBlock <= count; k += kCycle, panel += kBlock) {
    RT_UNROLL
    for (uint64_t j = 0; j < kBlock; j += 8) {
      __m256 tokens[M];
      RT_UNROLL
      for (int m = 0; m < M; ++m) tokens[m] = _mm256_loadu_ps(x + m * K + k + j);
      RT_UNROLL
      for (int i = 0; i < 4; ++i) {
        const __m256 weight = _mm256_load_ps(panel + i * kPanelColumns + j);
        RT_UNROLL
        for (int m = 0; m < M; ++m) chains[m][i] = _mm256_fmadd_ps(tokens[m], weight, chains[m][i]);
      }
    }
  }
  for (; k < count; k += 8, panel += 8) {  // the last block of the row
    const uint64_t part = count - k < 8 ? count - k : 8;
    RT_UNROLL
    for (int m = 0; m < M; ++m) {
      const __m256 token = load_part<Element::kF32>(x + m * K + k, part);
      RT_UNROLL
      for (int i = 0; i < 4; ++i) {
        const __m256 weight = _mm256_load_ps(panel + i * kPanelColumns);
        chains[m][i] = _mm256_fmadd_ps(token, weight, chains[m][i]);
      }
    }
  }
  RT_UNROLL
  for (int m = 0; m < M; ++m) {
    float* to = sums + m * kPanelRows;
    const __m128 sum = sum_lanes(chains[m][0], chains[m][1], chains[m][2], chains[m][3]);
    _mm_storeu_ps(to, _mm_add_ps(_mm_loadu_ps(to), sum));
  }
}

// Fetches two blocks of M rows of x. Rows lie K apart, often a power of two, so the second-level
// cache cannot keep many of them and they come from the third: 10 % of prefill if they are awaited.
template <int M>
inline void fetch_blocks(const float* x, uint64_t K) {
  RT_UNROLL
  for (int m = 0; m < M; ++m) {
    for (uint64_t k = 0; k < 2 * kCycle; k += kCycle) {
      _mm_prefetch((const char*)(x + m * K + k), _MM_HINT_T0);
      _mm_prefetch((const char*)(x + m * K + k + kBlock / 2), _MM_HINT_T0);
    }
  }
}

// All rows of the panel that hold weights, four at a time.
template <int M>
inline void add_tiles(const float* x, uint64_t K, uint64_t count, const float* panel, uint64_t rows,
                      float* sums) {
  for (uint64_t i = 0; i < rows; i += 4) {
    fetch_blocks<M>(x + M * K + i / 4 * 2 * kCycle, K);  // of the next tokens, a quarter each time
    add_tile<M>(x, K, count, panel + i * kPanelColumns, sums + i);
  }
}

template <Element element>
void many_tokens(const float* x, uint64_t tokens, const Matrix& weight, uint64_t begin,
                 uint64_t end, float* out, uint64_t stride) {
  const uint64_t K = weight.columns;
  const uint64_t row_bytes = K * kBytes<element>;
  alignas(64) float panel[kPanelRows * kPanelColumns] = {};
  alignas(64) float sums[kPanelTokens * kPanelRows];
  for (uint64_t n = begin; n < end; n += kPanelRows, out += kPanelRows) {
    const uint64_t rows = end - n < kPanelRows ? end - n : kPanelRows;
    memset(sums, 0, tokens * kPanelRows * sizeof(float));
    const unsigned char* w = (const unsigned char*)weight.data + n * row_bytes;
    for (uint64_t k = 0, next; k < K; k = next) {
      // The chain of the run that begins at element k, and where the next one begins.
      const uint64_t run = k / kRun * kRun;
      const uint64_t count = (K - run < kRun ? K : run + kRun) - k;
      next = k - run < 3 * kBlock ? k + kBlock : run + kRun;
      const uint64_t ahead =
          next < K ? (next - k) * kBytes<element> : kPanelRows * row_bytes - k * kBytes<element>;
      for (uint64_t i = 0; i < rows; ++i) {
        fill_row<element>(w + i * row_bytes + k * kBytes<element>, count, ahead,
                          panel + i * kPanelColumns);
      }
      const float* from = x + k;
      float* to = sums;
      uint64_t left = tokens;
      for (; left >= 3; left -= 3, from += 3 * K, to += 3 * kPanelRows) {
        add_tiles<3>(from, K, count, panel, rows, to);
      }
      if (left == 2) add_tiles<2>(from, K, count, panel, rows, to);
      if (left == 1) add_tiles<1>(from, K, count, panel, rows, to);
    }
    for (uint64_t t = 0; t < tokens; ++t) {
      memcpy(out + t * stride, sums + t * kPanelRows, rows * sizeof(float));
    }
  }
}

template <Element element>
void run(const float* x, uint64_t tokens, const Matrix& weight, uint64_t begin, uint64_t end,
         float* out, uint64_t stride) {
  switch (tokens) {  // from 6 on a panel is faster
    case 1:
      return few_tokens<element, 1>(x, weight, begin, end, out, stride);
    case 2:
      return few_tokens<element, 2>(x, weight, begin, end, out, stride);
    case 3:
      return few_tokens<element, 3>(x, weight, begin, end, out, stride);
    case 4:
      return few_tokens<element, 2, 2>(x, weight, begin, end, out, stride);
    case 5:
      return few_tokens<element, 3, 2>(x, weight, begin, end, out, stride);
  }
  for (uint64_t t = 0; t < tokens; t += kPanelTokens) {
    const uint64_t rows = tokens - t < kPanelTokens ? tokens - t : kPanelTokens;
    many_tokens<element>(x + t * weight.columns, rows, weight, begin, end, out + t * stride,
                         stride);
  }
}

}  // namespace

void linear_avx2(const float* x, uint64_t tokens, const Matrix& weight, uint64_t begin,
                 uint64_t end, float* out, uint64_t stride) {
  switch (weight.element) {
    case Element::kF32:
      return run<Element::kF32>(x, tokens, weight, begin, end, out, stride);
    case Element::kBf16:
      return run<Element::kBf16>(x, tokens, weight, begin, end, out, stride);
    case Element::kF16:
      return run<Element::kF16>(x, tokens, weight, begin, end, out, stride);
  }
}

}  // namespace rt::cpu
