// Matrix products of many tokens in 16-bit integers (vpmaddwd): out[t, n] = sum over k of x[t, k] *
// w[n, k], for processors without AVX-512. vpmaddwd makes 16 products where an FMA makes 8, and
// leaves their sum to a vpaddd (docs/BENCHMARKS.md has the peak of both).
//
// K is cut into runs of 512. Of a run, each token and each weight row is rounded to integers that
// span its largest magnitude: 8191 for x, 4095 for w, or the codes themselves where w is int8. 64
// products meet in a lane, 64 * 8191 * 4095 < 2^31, so sums of a run are exact; then they are
// widened to f32, summed over lanes, and multiplied by both scales.
//
// What the rounding costs: x errs by at most m / 16382, m the largest magnitude of its run. Uniform
// errors of that size have a norm of at most sqrt(512 / 3) m / 16382 = 0.0008 m, and m is at most
// the norm of the run: less than bf16's 2^-9 / sqrt(3) = 0.0011 even if one element holds it all,
// and some 10 times less for numbers of like size. w likewise: 0.0016 at worst.
//
// A panel is 16 weight rows of a run (16 KiB, first-level cache); the tokens of a run, up to 256 of
// them (256 KiB), stay in the second-level cache while kBlock16Rows weight rows pass by. The order
// of an element's sum depends on K alone: runs in order, each as sum_lanes adds.
//
// A Weight writes its rows:
//
//   void gather(n, rows, k, count, panel) const
//       rows [n, n + rows), rows in 1..16, of columns [k, k + count) to panel.codes, and their
//       scales; k is a multiple of kRun16, count <= it. What lies beyond, codes of earlier calls,
//       meets zeros of x or is computed in vain.
//   const char* address(n, k) const
//       where that row's data begins, to be fetched while the panel before it is in use; rows lie
//       pitch() bytes apart.
//   uint64_t bytes(count) const
//       of so many columns.
#pragma once

#include "kernels/cpu/vector_avx2.h"

namespace rt::cpu {

constexpr uint64_t kRun16 = 512;
constexpr uint64_t kRun16Bytes = kRun16 * 2;
constexpr uint64_t kPanel16Rows = 16;
constexpr uint64_t kBlock16Rows = 64;
constexpr float kTokenSpan = 8191.0f;
constexpr float kWeightSpan = 4095.0f;

struct Panel16 {
  alignas(64) int16_t codes[kPanel16Rows][kRun16];
  alignas(64) float scales[kPanel16Rows];
};

// --- rounding

// The largest magnitude's bits so far: a NaN is larger than infinity, infinity than all numbers.
static inline __m256i larger_bits(__m256i bits, __m256 v) {
  return _mm256_max_epi32(bits,
                          _mm256_and_si256(_mm256_castps_si256(v), _mm256_set1_epi32(0x7fffffff)));
}

static inline float largest(__m256i bits) {
  __m128i m = _mm_max_epi32(_mm256_castsi256_si128(bits), _mm256_extracti128_si256(bits, 1));
  m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
  m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1));
  return _mm_cvtss_f32(_mm_castsi128_ps(m));
}

// What elements are multiplied by to span `span`, and what makes up for it. Runs without a number
// above 2^-100 count as 0; those with an infinity or a NaN make every sum a NaN.
struct Rounding {
  Rounding(float most, float span) {
    const bool small = most < 0x1p-100f;
    const bool finite = most <= 0x1.fffffep127f;
    factor = small || !finite ? 0.0f : span / most;
    scale = finite ? most / span : __builtin_nanf("");
  }
  float factor;
  float scale;
};

// Sixteen integers, in order. A NaN or an infinity times 0 is a NaN, which becomes -32768 (packed,
// INT_MIN saturates): finite, and the scale is a NaN already.
static inline __m256i rounded(__m256 low, __m256 high, __m256 factor) {
  const __m256i a = _mm256_cvtps_epi32(_mm256_mul_ps(low, factor));
  const __m256i b = _mm256_cvtps_epi32(_mm256_mul_ps(high, factor));
  return _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8);
}

template <Element element>
static inline __m256 load_until(const unsigned char* p, uint64_t k, uint64_t count) {
  if (k >= count) return _mm256_setzero_ps();
  if (k + 8 <= count) return load<element>(p + k * kBytes<element>);
  return load_part<element>(p + k * kBytes<element>, count - k);
}

// to = `count` elements rounded, with zeros up to a multiple of 32. Returns their scale.
template <Element element>
static inline float round_run(const unsigned char* from, uint64_t count, float span, int16_t* to) {
  __m256i bits = _mm256_setzero_si256();
  for (uint64_t k = 0; k < count; k += 8) {
    bits = larger_bits(bits, load_until<element>(from, k, count));
  }
  const Rounding rounding(largest(bits), span);
  const __m256 factor = _mm256_set1_ps(rounding.factor);
  for (uint64_t k = 0; k < (count + 31) / 32 * 32; k += 16) {
    const __m256 low = load_until<element>(from, k, count);
    const __m256 high = load_until<element>(from, k + 8, count);
    _mm256_store_si256((__m256i*)(to + k), rounded(low, high, factor));
  }
  return rounding.scale;
}

// --- x, as all of these products read it: scales f32[runs][tokens], then int16[runs][tokens][512].

struct Tokens16 {
  Tokens16(const void* packed, uint64_t tokens, uint64_t columns)
      : scales((float*)packed),
        codes((int16_t*)((char*)packed + scale_bytes(tokens, columns))),
        count(tokens) {}
  static uint64_t runs(uint64_t columns) { return (columns + kRun16 - 1) / kRun16; }
  static uint64_t scale_bytes(uint64_t tokens, uint64_t columns) {
    return (runs(columns) * tokens * sizeof(float) + 63) / 64 * 64;
  }
  static uint64_t bytes(uint64_t tokens, uint64_t columns) {
    return scale_bytes(tokens, columns) + runs(columns) * tokens * kRun16Bytes;
  }
  float* scale(uint64_t run, uint64_t t) const { return scales + run * count + t; }
  int16_t* run(uint64_t run, uint64_t t) const { return codes + (run * count + t) * kRun16; }

  float* scales;
  int16_t* codes;
  uint64_t count;
};

// --- tiles

// sums[m][i] = token m . row i of the panel, `count` elements, a multiple of 32. Twelve sums, two
// tokens, a weight and a product are all 16 registers, so the third token is read from memory each
// time. In assembly: g++ 12 keeps five of the sums in memory, at half the speed.
#define RT_ROW(row, at, a, b, c)                                                        \
  "vmovdqa " #row " * 1024 + " #at                                                      \
  "(%[panel]), %%ymm14\n"                                                               \
  "vpmaddwd %%ymm12, %%ymm14, %%ymm15\n vpaddd %%ymm15, %%ymm" #a ", %%ymm" #a          \
  "\n"                                                                                  \
  "vpmaddwd %%ymm13, %%ymm14, %%ymm15\n vpaddd %%ymm15, %%ymm" #b ", %%ymm" #b          \
  "\n"                                                                                  \
  "vpmaddwd 2 * 1024 + " #at "(%[tokens]), %%ymm14, %%ymm14\n vpaddd %%ymm14, %%ymm" #c \
  ", %%ymm" #c "\n"
#define RT_STEP(at)                                                                            \
  "vmovdqa " #at                                                                               \
  "(%[tokens]), %%ymm12\n"                                                                     \
  "vmovdqa 1024 + " #at "(%[tokens]), %%ymm13\n" RT_ROW(0, at, 0, 4, 8) RT_ROW(1, at, 1, 5, 9) \
      RT_ROW(2, at, 2, 6, 10) RT_ROW(3, at, 3, 7, 11)
#define RT_ZERO(i) "vpxor %%ymm" #i ", %%ymm" #i ", %%ymm" #i "\n"
#define RT_STORE(i) "vmovdqa %%ymm" #i ", " #i " * 32(%[sums])\n"
#define RT_ALL(do) \
  do (0) do(1) do(2) do(3) do(4) do(5) do(6) do(7) do(8) do(9) do(10) do(11)
static_assert(kRun16Bytes == 1024);

static inline void multiply_3x4(const int16_t* tokens, const int16_t* panel, uint64_t count,
                                __m256i (*sums)[4]) {
  asm volatile(
      RT_ALL(RT_ZERO)
      "1:\n" RT_STEP(0) RT_STEP(32)
      "add $64, %[tokens]\n"
      "add $64, %[panel]\n"
      "sub $32, %[count]\n"
      "jnz 1b\n" RT_ALL(RT_STORE)
      : [tokens] "+&r"(tokens), [panel] "+&r"(panel), [count] "+&r"(count)
      : [sums] "r"(sums)
      : "memory", "cc", "ymm0", "ymm1", "ymm2", "ymm3", "ymm4", "ymm5", "ymm6", "ymm7", "ymm8",
        "ymm9", "ymm10", "ymm11", "ymm12", "ymm13", "ymm14", "ymm15");
}
#undef RT_ALL
#undef RT_STORE
#undef RT_ZERO
#undef RT_STEP
#undef RT_ROW

// The same for M < 3 tokens.
template <int M>
static inline void multiply_few(const int16_t* tokens, const int16_t* panel, uint64_t count,
                                __m256i (*sums)[4]) {
  RT_UNROLL
  for (int m = 0; m < M; ++m) {
    RT_UNROLL
    for (int i = 0; i < 4; ++i) sums[m][i] = _mm256_setzero_si256();
  }
  for (uint64_t k = 0; k < count; k += 16) {
    RT_UNROLL
    for (int i = 0; i < 4; ++i) {
      const __m256i weight = _mm256_load_si256((const __m256i*)(panel + i * kRun16 + k));
      RT_UNROLL
      for (int m = 0; m < M; ++m) {
        const __m256i token = _mm256_load_si256((const __m256i*)(tokens + m * kRun16 + k));
        sums[m][i] = _mm256_add_epi32(sums[m][i], _mm256_madd_epi16(weight, token));
      }
    }
  }
}

// Where a tile's results go: `rows` <= 4 of them; the first run stores, later ones add.
struct Target16 {
  float* out;
  uint64_t stride;
  uint64_t rows;
  bool first;
};

static inline void put4(__m128 sum, const Target16& target, float* to) {
  if (target.rows >= 4) {
    if (!target.first) sum = _mm_add_ps(_mm_loadu_ps(to), sum);
    return _mm_storeu_ps(to, sum);
  }
  float four[4];
  _mm_storeu_ps(four, sum);
  for (uint64_t i = 0; i < target.rows; ++i) to[i] = target.first ? four[i] : to[i] + four[i];
}

template <int M>
static inline void multiply_tile16(const int16_t* tokens, const float* token_scales,
                                   const int16_t* panel, const float* scales, uint64_t count,
                                   const Target16& target) {
  __m256i sums[M][4];
  if constexpr (M == 3) {
    multiply_3x4(tokens, panel, count, sums);
  } else {
    multiply_few<M>(tokens, panel, count, sums);
  }
  const __m128 four = _mm_load_ps(scales);
  RT_UNROLL
  for (int m = 0; m < M; ++m) {
    const __m128 sum = sum_lanes(_mm256_cvtepi32_ps(sums[m][0]), _mm256_cvtepi32_ps(sums[m][1]),
                                 _mm256_cvtepi32_ps(sums[m][2]), _mm256_cvtepi32_ps(sums[m][3]));
    put4(_mm_mul_ps(sum, _mm_mul_ps(four, _mm_set1_ps(token_scales[m]))), target,
         target.out + m * target.stride);
  }
}

// M tokens and all of a panel.
template <int M>
static inline void multiply_tiles16(const int16_t* tokens, const float* token_scales,
                                    const Panel16& panel, uint64_t rows, uint64_t count, float* out,
                                    uint64_t stride, bool first) {
  for (uint64_t i = 0; i < rows; i += 4) {
    const Target16 target = {out + i, stride, rows - i, first};
    multiply_tile16<M>(tokens, token_scales, panel.codes[i], panel.scales + i, count, target);
  }
}

// What a panel is made of: rows `pitch` bytes apart, of which `lines` lines each are read.
struct Lines {
  // Of the panel at row n and column k, and of what is left of the weight.
  template <class Weight>
  Lines(const Weight& weight, uint64_t n, uint64_t rows_left, uint64_t k, uint64_t columns_left)
      : address(weight.address(n, k)),
        pitch(weight.pitch()),
        lines((weight.bytes(columns_left < kRun16 ? columns_left : kRun16) + 63) / 64),
        rows(rows_left < kPanel16Rows ? rows_left : kPanel16Rows) {}

  uint64_t count() const { return rows * lines; }
  void fetch(uint64_t begin, uint64_t end) const {
    for (uint64_t i = begin; i < end; ++i) {
      _mm_prefetch(address + i / lines * pitch + i % lines * 64, _MM_HINT_T1);
    }
  }

  const char* address;
  uint64_t pitch;
  uint64_t lines;
  uint64_t rows;
};

// All tokens and one panel; meanwhile what the next panel is made of is fetched, part by part.
static inline void multiply_panel16(const Tokens16& x, uint64_t run, const Panel16& panel,
                                    uint64_t rows, uint64_t count, const Lines& next, float* out,
                                    uint64_t stride) {
  const uint64_t all = next.count();
  uint64_t fetched = 0;
  for (uint64_t t = 0; t < x.count; t += 3) {
    const uint64_t until = all * (t + 3) / x.count;
    next.fetch(fetched, until < all ? until : all);
    fetched = until;
    const int16_t* tokens = x.run(run, t);
    const float* scales = x.scale(run, t);
    float* to = out + t * stride;
    switch (x.count - t) {
      case 1:
        multiply_tiles16<1>(tokens, scales, panel, rows, count, to, stride, run == 0);
        break;
      case 2:
        multiply_tiles16<2>(tokens, scales, panel, rows, count, to, stride, run == 0);
        break;
      default:
        multiply_tiles16<3>(tokens, scales, panel, rows, count, to, stride, run == 0);
    }
  }
}

// x as pack_int16 leaves it; columns [begin, end) of the result; `out` is where column `begin` of
// row 0 goes, rows are `stride` apart.
template <class Weight>
static inline void multiply_int16(const void* packed, uint64_t tokens, uint64_t K,
                                  const Weight& weight, uint64_t begin, uint64_t end, float* out,
                                  uint64_t stride) {
  const Tokens16 x(packed, tokens, K);
  Panel16 panel;
  memset(&panel, 0, sizeof panel);
  for (uint64_t block = begin; block < end; block += kBlock16Rows) {
    const uint64_t block_end = end - block < kBlock16Rows ? end : block + kBlock16Rows;
    for (uint64_t k = 0, run = 0; k < K; k += kRun16, ++run) {
      const uint64_t count = K - k < kRun16 ? K - k : kRun16;
      for (uint64_t n = block; n < block_end; n += kPanel16Rows) {
        const uint64_t rows = block_end - n < kPanel16Rows ? block_end - n : kPanel16Rows;
        weight.gather(n, rows, k, count, panel);
        const uint64_t next = n + kPanel16Rows;
        const Lines lines =
            next < block_end ? Lines(weight, next, block_end - next, k, K - k)
            : k + kRun16 < K ? Lines(weight, block, block_end - block, k + kRun16, K - k - kRun16)
                             : Lines(weight, block_end, end - block_end, 0, K);
        multiply_panel16(x, run, panel, rows, (count + 31) / 32 * 32, lines, out + (n - begin),
                         stride);
      }
    }
  }
}

}  // namespace rt::cpu
