// Matrix products with AVX2 and FMA, in the order of sums that linear.h fixes.
//
// Few tokens (decode): product_avx2.h.
//
// Many tokens (prefill): bound by FMA. One chain of a run at a time: its elements of all tokens are
// copied side by side (96 KiB, second-level cache; rows of x lie K apart, often a power of two,
// which caches cannot keep), and those of 16 weight rows are widened into a panel (16 KiB,
// first-level cache). Tiles of 3 tokens x 4 weight rows then need 7 loads for 12 sums, where 2 FMA
// and 2 loads fit a cycle.
#include "kernels/cpu/product_avx2.h"

namespace rt::cpu {
namespace {

constexpr uint64_t kChain = kRun / 4;  // elements of one chain of a run
constexpr uint64_t kPanelRows = 16;    // weight rows
constexpr uint64_t kPanelTokens = 96;  // chains f32[96, 256]: 96 KiB
constexpr uint64_t kSumRows = 256;     // sums f32[96, 256]: 96 KiB

// Where a panel's weights begin.
struct Corner {
  uint64_t row;
  uint64_t column;
};

// The elements of one chain of a run side by side, with zeros up to a multiple of 8: the blocks at
// 0, kCycle, ... below `count`. Returns how many. What lies `ahead` bytes further is fetched.
template <Element element>
inline uint64_t gather_chain(const unsigned char* from, uint64_t count, int64_t ahead, float* to) {
  uint64_t gathered = 0;
  for (uint64_t k = 0; k < count; k += kCycle) {
    const unsigned char* block = from + k * kBytes<element>;
    for (uint64_t line = 0; line < kBlock * kBytes<element>; line += 64) {
      _mm_prefetch((const char*)block + line + ahead, _MM_HINT_T0);
    }
    uint64_t i = 0;
    for (; i < kBlock && k + i + 8 <= count; i += 8, gathered += 8) {
      _mm256_store_ps(to + gathered, load<element>(block + i * kBytes<element>));
    }
    if (i < kBlock && k + i < count) {
      const uint64_t part = count - k - i;
      _mm256_store_ps(to + gathered, load_part<element>(block + i * kBytes<element>, part));
      gathered += 8;
    }
  }
  return gathered;
}

// chains[m][i] += tokens[m] . row i of the panel, elements [k, k + 8 steps).
template <int M, int steps>
inline void add_steps(const float* tokens, const float* panel, uint64_t k, __m256 (*chains)[4]) {
  RT_UNROLL
  for (int s = 0; s < steps; ++s) {
    __m256 token[M];
    RT_UNROLL
    for (int m = 0; m < M; ++m) token[m] = _mm256_load_ps(tokens + m * kChain + k + 8 * s);
    RT_UNROLL
    for (int i = 0; i < 4; ++i) {
      const __m256 weight = _mm256_load_ps(panel + i * kChain + k + 8 * s);
      RT_UNROLL
      for (int m = 0; m < M; ++m) chains[m][i] = _mm256_fmadd_ps(token[m], weight, chains[m][i]);
    }
  }
}

// sums f32[M, kSumRows] += tokens[M, chain] panel^T, for four rows of the panel. Four steps at a
// time: a whole chain is 8 rounds, whose end the processor foresees more often than that of 32.
template <int M>
inline void add_tile(const float* tokens, uint64_t length, const float* panel, float* sums) {
  __m256 chains[M][4];
  RT_UNROLL
  for (int m = 0; m < M; ++m) {
    RT_UNROLL
    for (int i = 0; i < 4; ++i) chains[m][i] = _mm256_setzero_ps();
  }
  uint64_t k = 0;
  for (; k + 32 <= length; k += 32) add_steps<M, 4>(tokens, panel, k, chains);
  for (; k < length; k += 8) add_steps<M, 1>(tokens, panel, k, chains);
  RT_UNROLL
  for (int m = 0; m < M; ++m) {
    float* to = sums + m * kSumRows;
    const __m128 sum = sum_lanes(chains[m][0], chains[m][1], chains[m][2], chains[m][3]);
    _mm_storeu_ps(to, _mm_add_ps(_mm_loadu_ps(to), sum));
  }
}

// M tokens and all rows of the panel that hold weights, four at a time. The next M tokens are
// fetched from the second-level cache meanwhile, a quarter with each four rows. (Both together:
// tiles alone 80 to 87 % of the FMA peak, medians of 41 runs in turns.)
template <int M>
inline void add_tiles(const float* tokens, uint64_t length, const float* panel, uint64_t rows,
                      float* sums) {
  for (uint64_t i = 0; i < rows; i += 4) {
    for (int m = 0; m < M; ++m) {
      const char* quarter = (const char*)(tokens + (M + m) * kChain + i / 4 * (kChain / 4));
      for (uint64_t byte = 0; byte < kChain / 4 * sizeof(float); byte += 64) {
        _mm_prefetch(quarter + byte, _MM_HINT_T0);
      }
    }
    add_tile<M>(tokens, length, panel + i * kChain, sums + i);
  }
}

// Up to kPanelTokens tokens, and up to kSumRows weight rows from `begin`.
template <Element element>
void sum_rows(const float* x, uint64_t tokens, const Matrix& weight, uint64_t begin, uint64_t rows,
              float* sums) {
  const uint64_t K = weight.columns;
  const uint64_t row_bytes = K * kBytes<element>;
  alignas(64) float chains[kPanelTokens * kChain];
  alignas(64) float panel[kPanelRows * kChain] = {};
  const unsigned char* w = (const unsigned char*)weight.data + begin * row_bytes;
  for (uint64_t k = 0, next; k < K; k = next) {
    // The chain of the run that begins at element k, and where the next one begins.
    const uint64_t run = k / kRun * kRun;
    const uint64_t count = (K - run < kRun ? K : run + kRun) - k;
    next = k - run < 3 * kBlock ? k + kBlock : run + kRun;
    uint64_t length = 0;
    for (uint64_t t = 0; t < tokens; ++t) {
      length =
          gather_chain<Element::kF32>((const unsigned char*)(x + t * K + k), count,
                                      (int64_t)((next - k) * sizeof(float)), chains + t * kChain);
    }
    for (uint64_t n = 0; n < rows; n += kPanelRows) {
      const Corner then = n + kPanelRows < rows ? Corner{n + kPanelRows, k}
                          : next < K            ? Corner{0, next}
                                                : Corner{rows, 0};
      const int64_t ahead = (int64_t)(then.row * row_bytes + then.column * kBytes<element>)-(
          int64_t)(n * row_bytes + k * kBytes<element>);
      const uint64_t high = rows - n < kPanelRows ? rows - n : kPanelRows;
      for (uint64_t i = 0; i < high; ++i) {
        gather_chain<element>(w + (n + i) * row_bytes + k * kBytes<element>, count, ahead,
                              panel + i * kChain);
      }
      uint64_t t = 0;
      for (; t + 3 <= tokens; t += 3) {
        add_tiles<3>(chains + t * kChain, length, panel, high, sums + t * kSumRows + n);
      }
      if (tokens - t == 2) {
        add_tiles<2>(chains + t * kChain, length, panel, high, sums + t * kSumRows + n);
      }
      if (tokens - t == 1) {
        add_tiles<1>(chains + t * kChain, length, panel, high, sums + t * kSumRows + n);
      }
    }
  }
}

template <Element element>
void many_tokens(const float* x, uint64_t tokens, const Matrix& weight, uint64_t begin,
                 uint64_t end, float* out, uint64_t stride) {
  alignas(64) float sums[kPanelTokens * kSumRows];
  for (uint64_t n = begin; n < end; n += kSumRows, out += kSumRows) {
    const uint64_t rows = end - n < kSumRows ? end - n : kSumRows;
    memset(sums, 0, tokens * kSumRows * sizeof(float));
    sum_rows<element>(x, tokens, weight, n, rows, sums);
    for (uint64_t t = 0; t < tokens; ++t) {
      memcpy(out + t * stride, sums + t * kSumRows, rows * sizeof(float));
    }
  }
}

template <Element element>
void few_tokens(const float* x, uint64_t tokens, const Matrix& weight, uint64_t begin, uint64_t end,
                float* out, uint64_t stride) {
  const uint64_t row_bytes = weight.columns * kBytes<element>;
  const auto* data = (const unsigned char*)weight.data;
  for (uint64_t n = begin; n < end; n += kTurns, out += kTurns) {
    const uint64_t count = end - n < kTurns ? end - n : kTurns;
    DenseRow<element> rows[kTurns];
    for (uint64_t i = 0; i < count; ++i) rows[i] = {data + (n + i) * row_bytes};
    multiply_few(x, tokens, weight.columns, rows, count, out, stride);
  }
}

template <Element element>
void run(const float* x, uint64_t tokens, const Matrix& weight, uint64_t begin, uint64_t end,
         float* out, uint64_t stride) {
  if (tokens <= kFewTokens) {
    return few_tokens<element>(x, tokens, weight, begin, end, out, stride);
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
