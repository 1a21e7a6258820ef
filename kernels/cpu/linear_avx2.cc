// Matrix products with AVX2 and FMA, in the order of sums that linear.h fixes.
//
// Few tokens (decode): bound by reading the weight once. Bytes moved: N K bytes(element). A thread
// walks its rows from front to back; four runs of a row are summed at once (four chains hide the 4
// cycles of an FMA), and one prefetch per line, kAhead bytes in front, keeps the walk a single
// stream for the memory.
//
// Many tokens (prefill): bound by FMA. A panel of kPanelRows x kLinearRun weights is widened once
// (16 KiB of 32 KiB first-level cache) and met by all tokens in tiles of 3 tokens x 4 weight rows:
// 12 chains of FMA on 7 loads, where 2 FMA and 2 loads fit a cycle.
#include "kernels/cpu/linear.h"
#include "kernels/cpu/vector_avx2.h"

namespace rt::cpu {
namespace {

constexpr uint64_t kAhead = 8192;      // bytes
constexpr uint64_t kPanelRows = 16;    // weight rows
constexpr uint64_t kPanelTokens = 192; // sums f32[192, 16]: 12 KiB

// Adds `chains` full runs that begin at element k of a weight row to M totals.
template <Element element, int M, int chains>
inline void add_runs(const float* x, uint64_t K, const unsigned char* w, uint64_t k,
                     float* totals) {
  constexpr uint64_t kStep = 8 * chains * kBytes<element>;  // bytes of one iteration
  __m256 sums[M][chains];
  for (int m = 0; m < M; ++m) {
    for (int c = 0; c < chains; ++c) sums[m][c] = _mm256_setzero_ps();
  }
  const unsigned char* from = w + k * kBytes<element>;
  const unsigned char* ahead = from + kAhead;
  for (uint64_t i = 0; i < kLinearRun; i += 8) {
    for (uint64_t line = 0; line < kStep; line += 64) {
      _mm_prefetch((const char*)ahead + line, _MM_HINT_T0);
    }
    ahead += kStep;
    for (int c = 0; c < chains; ++c) {
      const uint64_t at = c * kLinearRun + i;
      const __m256 weight = load<element>(from + at * kBytes<element>);
      for (int m = 0; m < M; ++m) {
        sums[m][c] = _mm256_fmadd_ps(_mm256_loadu_ps(x + m * K + k + at), weight, sums[m][c]);
      }
    }
  }
  for (int m = 0; m < M; ++m) {
    int c = 0;
    for (; c + 4 <= chains; c += 4) {
      float four[4];
      _mm_storeu_ps(four,
                    sum_lanes(sums[m][c], sums[m][c + 1], sums[m][c + 2], sums[m][c + 3]));
      for (int i = 0; i < 4; ++i) totals[m] += four[i];
    }
    for (; c < chains; ++c) totals[m] += sum_lanes(sums[m][c]);
  }
}

// Adds the last, shorter run.
template <Element element, int M>
inline void add_rest(const float* x, uint64_t K, const unsigned char* w, uint64_t k,
                     float* totals) {
  for (int m = 0; m < M; ++m) {
    __m256 sum = _mm256_setzero_ps();
    uint64_t i = k;
    for (; i + 8 <= K; i += 8) {
      sum = _mm256_fmadd_ps(_mm256_loadu_ps(x + m * K + i), load<element>(w + i * kBytes<element>),
                            sum);
    }
    if (i < K) {
      sum = _mm256_fmadd_ps(load_part<Element::kF32>(x + m * K + i, K - i),
                            load_part<element>(w + i * kBytes<element>, K - i), sum);
    }
    totals[m] += sum_lanes(sum);
  }
}

template <Element element, int M>
void few_tokens(const float* x, const Matrix& weight, uint64_t begin, uint64_t end, float* out,
                uint64_t stride) {
  constexpr int kMost = M == 1 ? 8 : 4;  // runs at once: 8 to 12 chains in 16 registers
  const uint64_t K = weight.columns;
  const uint64_t row_bytes = K * kBytes<element>;
  const unsigned char* w = (const unsigned char*)weight.data + begin * row_bytes;
  for (uint64_t n = begin; n < end; ++n, w += row_bytes, ++out) {
    float totals[M] = {};
    uint64_t k = 0;
    for (; k + kMost * kLinearRun <= K; k += kMost * kLinearRun) {
      add_runs<element, M, kMost>(x, K, w, k, totals);
    }
    if (kMost > 4 && k + 4 * kLinearRun <= K) {
      add_runs<element, M, 4>(x, K, w, k, totals);
      k += 4 * kLinearRun;
    }
    switch ((K - k) / kLinearRun) {
      case 3:
        add_runs<element, M, 3>(x, K, w, k, totals);
        break;
      case 2:
        add_runs<element, M, 2>(x, K, w, k, totals);
        break;
      case 1:
        add_runs<element, M, 1>(x, K, w, k, totals);
        break;
    }
    k = K / kLinearRun * kLinearRun;
    if (k < K) add_rest<element, M>(x, K, w, k, totals);
    for (int m = 0; m < M; ++m) out[m * stride] = totals[m];
  }
}

// f32[kPanelRows, kLinearRun] = weight[n + i, k + j], zero beyond `rows` and `count`.
template <Element element>
void fill_panel(const Matrix& weight, uint64_t n, uint64_t rows, uint64_t k, uint64_t count,
                float* panel) {
  const uint64_t row_bytes = weight.columns * kBytes<element>;
  const unsigned char* w = (const unsigned char*)weight.data + n * row_bytes + k * kBytes<element>;
  for (uint64_t i = 0; i < kPanelRows; ++i, w += row_bytes, panel += kLinearRun) {
    uint64_t j = 0;
    if (i < rows) {
      for (; j + 8 <= count; j += 8) {
        const unsigned char* from = w + j * kBytes<element>;
        _mm_prefetch((const char*)from + kLinearRun * kBytes<element>, _MM_HINT_T0);
        _mm256_storeu_ps(panel + j, load<element>(from));
      }
      if (j < count) {
        _mm256_storeu_ps(panel + j, load_part<element>(w + j * kBytes<element>, count - j));
        j += 8;
      }
    }
    for (; j < kLinearRun; j += 8) _mm256_storeu_ps(panel + j, _mm256_setzero_ps());
  }
}

// sums f32[M, kPanelRows] += x[M, count] panel^T, for the panel's rows [quad, quad + 4).
template <int M>
inline void add_tile(const float* x, uint64_t K, uint64_t count, const float* panel, float* sums) {
  __m256 chains[M][4];
  for (int m = 0; m < M; ++m) {
    for (int c = 0; c < 4; ++c) chains[m][c] = _mm256_setzero_ps();
  }
  uint64_t j = 0;
  for (; j + 8 <= count; j += 8) {
    __m256 tokens[M];
    for (int m = 0; m < M; ++m) tokens[m] = _mm256_loadu_ps(x + m * K + j);
    for (int c = 0; c < 4; ++c) {
      const __m256 weight = _mm256_loadu_ps(panel + c * kLinearRun + j);
      for (int m = 0; m < M; ++m) chains[m][c] = _mm256_fmadd_ps(tokens[m], weight, chains[m][c]);
    }
  }
  if (j < count) {
    for (int m = 0; m < M; ++m) {
      const __m256 token = load_part<Element::kF32>(x + m * K + j, count - j);
      for (int c = 0; c < 4; ++c) {
        const __m256 weight = _mm256_loadu_ps(panel + c * kLinearRun + j);
        chains[m][c] = _mm256_fmadd_ps(token, weight, chains[m][c]);
      }
    }
  }
  for (int m = 0; m < M; ++m) {
    float* to = sums + m * kPanelRows;
    const __m128 run = sum_lanes(chains[m][0], chains[m][1], chains[m][2], chains[m][3]);
    _mm_storeu_ps(to, _mm_add_ps(_mm_loadu_ps(to), run));
  }
}

template <int M>
inline void add_tiles(const float* x, uint64_t K, uint64_t count, const float* panel, float* sums) {
  for (uint64_t quad = 0; quad < kPanelRows; quad += 4) {
    add_tile<M>(x, K, count, panel + quad * kLinearRun, sums + quad);
  }
}

template <Element element>
void many_tokens(const float* x, uint64_t tokens, const Matrix& weight, uint64_t begin,
                 uint64_t end, float* out, uint64_t stride) {
  const uint64_t K = weight.columns;
  alignas(64) float panel[kPanelRows * kLinearRun];
  alignas(64) float sums[kPanelTokens * kPanelRows];
  for (uint64_t n = begin; n < end; n += kPanelRows, out += kPanelRows) {
    const uint64_t rows = end - n < kPanelRows ? end - n : kPanelRows;
    memset(sums, 0, tokens * kPanelRows * sizeof(float));
    for (uint64_t k = 0; k < K; k += kLinearRun) {
      const uint64_t count = K - k < kLinearRun ? K - k : kLinearRun;
      fill_panel<element>(weight, n, rows, k, count, panel);
      uint64_t t = 0;
      for (; t + 3 <= tokens; t += 3) {
        add_tiles<3>(x + t * K + k, K, count, panel, sums + t * kPanelRows);
      }
      if (tokens - t == 2) add_tiles<2>(x + t * K + k, K, count, panel, sums + t * kPanelRows);
      if (tokens - t == 1) add_tiles<1>(x + t * K + k, K, count, panel, sums + t * kPanelRows);
    }
    for (uint64_t t = 0; t < tokens; ++t) {
      memcpy(out + t * stride, sums + t * kPanelRows, rows * sizeof(float));
    }
  }
}

template <Element element>
void run(const float* x, uint64_t tokens, const Matrix& weight, uint64_t begin, uint64_t end,
         float* out, uint64_t stride) {
  if (tokens == 1) return few_tokens<element, 1>(x, weight, begin, end, out, stride);
  if (tokens == 2) return few_tokens<element, 2>(x, weight, begin, end, out, stride);
  if (tokens == 3) return few_tokens<element, 3>(x, weight, begin, end, out, stride);
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
