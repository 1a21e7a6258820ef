// Prefill on tensor cores: a block takes 64 query rows (tokens times the heads of one group) of one
// sequence at a time, 16 for each warp, and walks their keys in tiles. Scores and sums are f32 and
// stay in registers; queries, keys, values and softmax weights are rounded to the values' 16 bits,
// whatever the cache's type.
#include "kernels/cuda/attention.h"
#include "kernels/cuda/attention_segment.h"
#include "kernels/cuda/kv_rows.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/mma.h"
#include "kernels/cuda/softmax.h"

namespace rt::cuda {
namespace {

constexpr unsigned kThreads = 128;
constexpr unsigned kRows = 64;
constexpr unsigned kPad = 8;  // halves; rows of E + 8 and K + 8 meet 32 banks at fragment loads

// Keys of a tile; tiles begin at multiples of it. 32 where the sums alone take 128 registers.
template <unsigned E>
constexpr unsigned kTileKeys = E > 128 ? 32 : 64;

using Rows = QueryTiles;

template <class T, unsigned E>
struct Shared {
  static constexpr unsigned kKeyStride = E + kPad;
  static constexpr unsigned kValueStride = kTileKeys<E> + kPad;
  alignas(16) T q[kRows * kKeyStride];
  alignas(16) T keys[kTileKeys<E> * kKeyStride];
  alignas(16) T values[E * kValueStride];  // transposed: pairs of keys are adjacent
};

// The keys [begin, end) that a row sees; none if it does not exist.
struct Range {
  uint64_t begin;
  uint64_t end;
};
__device__ inline Range range_of(const Rows& rows, const StepTokens& step, const Segment& segment,
                                 unsigned row) {
  if (!row_exists(rows, segment, row)) return {0, 0};
  const uint64_t end =
      static_cast<uint64_t>(step.positions[segment.first + row / rows.tile_heads]) + 1;
  const uint64_t window = rows.shape.window;
  return {window > 0 && end > window ? end - window : 0, end};
}

// The cache's type is a branch that all threads take alike: six times the kernels would be for
// nothing but this load.
__device__ inline void load_cache8(const KvCache& kv, const unsigned char* row, uint32_t g,
                                   uint32_t e, bool aligned, float (&out)[8]) {
  switch (kv.element) {
    case KvElement::kF32:
      return KvReader<KvElement::kF32>::load8(kv, row, g, e, aligned, out);
    case KvElement::kBf16:
      return KvReader<KvElement::kBf16>::load8(kv, row, g, e, aligned, out);
    case KvElement::kF16:
      return KvReader<KvElement::kF16>::load8(kv, row, g, e, aligned, out);
    case KvElement::kInt8:
      return KvReader<KvElement::kInt8>::load8(kv, row, g, e, aligned, out);
    case KvElement::kQ8_0:
      return KvReader<KvElement::kQ8_0>::load8(kv, row, g, e, aligned, out);
    case KvElement::kQ4_0:
      return KvReader<KvElement::kQ4_0>::load8(kv, row, g, e, aligned, out);
  }
}

template <class T>
__device__ inline uint32_t pack(float low, float high) {
  T a;
  T b;
  round_to(low, &a);
  round_to(high, &b);
  return static_cast<uint32_t>(a.bits) | static_cast<uint32_t>(b.bits) << 16;
}

template <class T>
__device__ inline uint32_t pair_at(const T* array, unsigned at) {
  return *reinterpret_cast<const uint32_t*>(array + at);
}

template <class T>
__device__ inline void store8(const float (&values)[8], T* to) {
  Bytes16 bytes;
  RT_UNROLL
  for (unsigned i = 0; i < 4; ++i) bytes.words[i] = pack<T>(values[2 * i], values[2 * i + 1]);
  *reinterpret_cast<Bytes16*>(to) = bytes;
}

template <class T, unsigned E>
__device__ void load_queries(const Rows& rows, const Segment& segment, const Matrix& q,
                             Shared<T, E>& shared) {
  for (unsigned i = threadIdx.x; i < kRows * (E / 8); i += kThreads) {
    const unsigned row = i / (E / 8);
    const unsigned e = i % (E / 8) * 8;
    float values[8] = {};
    if (row_exists(rows, segment, row)) {
      load8(q.data, q.element, query_at(rows, segment, row) + e, q.rows * q.columns, true, values);
    }
    store8(values, shared.q + row * Shared<T, E>::kKeyStride + e);
  }
}

// Keys [range) of the tile that starts at `base`; the others are 0.
template <class T, unsigned E>
__device__ void load_keys(const Rows& rows, const KvCache& kv, const Segment& segment,
                          uint64_t base, Range range, Shared<T, E>& shared) {
  for (unsigned i = threadIdx.x; i < kTileKeys<E> * (E / 8); i += kThreads) {
    const uint64_t t = base + i / (E / 8);
    const unsigned e = i % (E / 8) * 8;
    float values[8] = {};
    if (t >= range.begin && t < range.end) {
      load_cache8(kv, kv_row(kv, segment.b, t, kKeys), segment.g, e, rows.kv_is_aligned, values);
    }
    store8(values, shared.keys + i / (E / 8) * Shared<T, E>::kKeyStride + e);
  }
}

// Two tokens for a thread, so that it writes whole words of the transposed tile; two pieces of 16
// bytes beside each other in a warp, so that a row's sectors are read whole.
template <class T, unsigned E>
__device__ void load_values(const Rows& rows, const KvCache& kv, const Segment& segment,
                            uint64_t base, Range range, Shared<T, E>& shared) {
  constexpr unsigned kPairs = kTileKeys<E> / 2;
  for (unsigned i = threadIdx.x; i < kPairs * (E / 8); i += kThreads) {
    const unsigned pair = i / 2 % kPairs;
    const unsigned e = (i / (2 * kPairs) * 2 + i % 2) * 8;
    float values[2][8] = {};
    RT_UNROLL
    for (unsigned k = 0; k < 2; ++k) {
      const uint64_t t = base + 2 * pair + k;
      if (t < range.begin || t >= range.end) continue;
      load_cache8(kv, kv_row(kv, segment.b, t, kValues), segment.g, e, rows.kv_is_aligned,
                  values[k]);
    }
    RT_UNROLL
    for (unsigned j = 0; j < 8; ++j) {
      *reinterpret_cast<uint32_t*>(shared.values + (e + j) * Shared<T, E>::kValueStride +
                                   2 * pair) = pack<T>(values[0][j], values[1][j]);
    }
  }
}

// What a lane holds of its warp's rows g and g + 8 (kernels/cuda/mma.h): of every eight columns of
// the sums the two from 2 q on.
template <unsigned E>
struct State {
  float m[2];
  float l[2];
  float sums[E / 8][4];
};

template <class T, unsigned E>
__device__ void score_tile(const Rows& rows, const Range (&ranges)[2], uint64_t base,
                           const Shared<T, E>& shared, float (&scores)[kTileKeys<E> / 8][4]) {
  constexpr unsigned kStride = Shared<T, E>::kKeyStride;
  const unsigned g = threadIdx.x % kWarp / 4;
  const unsigned q = threadIdx.x % 4;
  const unsigned row = threadIdx.x / kWarp * 16 + g;
  RT_UNROLL
  for (unsigned k = 0; k < E; k += 16) {
    uint32_t a[4];
    RT_UNROLL
    for (unsigned part = 0; part < 4; ++part) {
      a[part] = pair_at(shared.q, (row + part % 2 * 8) * kStride + k + part / 2 * 8 + 2 * q);
    }
    RT_UNROLL
    for (unsigned j = 0; j < kTileKeys<E> / 8; ++j) {
      const unsigned at = (8 * j + g) * kStride + k + 2 * q;
      const uint32_t b[2] = {pair_at(shared.keys, at), pair_at(shared.keys, at + 8)};
      mma<T>(scores[j], a, b);
    }
  }
  RT_UNROLL
  for (unsigned j = 0; j < kTileKeys<E> / 8; ++j) {
    RT_UNROLL
    for (unsigned c = 0; c < 4; ++c) {
      const uint64_t key = base + 8 * j + 2 * q + c % 2;
      const bool visible = key >= ranges[c / 2].begin && key < ranges[c / 2].end;
      scores[j][c] =
          visible ? capped(scores[j][c], rows.shape.scale, rows.shape.softcap) : minus_infinity();
    }
  }
}

// Scores become weights, and what has been summed is rescaled to the new maximum.
template <unsigned E>
__device__ void weigh_tile(State<E>& state, float (&scores)[kTileKeys<E> / 8][4]) {
  RT_UNROLL
  for (unsigned half = 0; half < 2; ++half) {
    float m = state.m[half];
    RT_UNROLL
    for (unsigned j = 0; j < kTileKeys<E> / 8; ++j) {
      m = fmaxf(m, fmaxf(scores[j][2 * half], scores[j][2 * half + 1]));
    }
    m = fmaxf(m, __shfl_xor_sync(0xffffffffu, m, 1));
    m = fmaxf(m, __shfl_xor_sync(0xffffffffu, m, 2));
    const float keep = weight_of(state.m[half], m);
    state.m[half] = m;
    state.l[half] *= keep;
    RT_UNROLL
    for (unsigned n = 0; n < E / 8; ++n) {
      state.sums[n][2 * half] *= keep;
      state.sums[n][2 * half + 1] *= keep;
    }
    RT_UNROLL
    for (unsigned j = 0; j < kTileKeys<E> / 8; ++j) {
      RT_UNROLL
      for (unsigned c = 2 * half; c < 2 * half + 2; ++c) {
        scores[j][c] = weight_of(scores[j][c], m);
        state.l[half] += scores[j][c];
      }
    }
  }
}

// The weights of 16 keys lie in a lane as the next product wants its left operand.
template <class T, unsigned E>
__device__ void add_tile(const Shared<T, E>& shared, const float (&weights)[kTileKeys<E> / 8][4],
                         State<E>& state) {
  const unsigned g = threadIdx.x % kWarp / 4;
  const unsigned q = threadIdx.x % 4;
  RT_UNROLL
  for (unsigned k = 0; k < kTileKeys<E>; k += 16) {
    const uint32_t a[4] = {pack<T>(weights[k / 8][0], weights[k / 8][1]),
                           pack<T>(weights[k / 8][2], weights[k / 8][3]),
                           pack<T>(weights[k / 8 + 1][0], weights[k / 8 + 1][1]),
                           pack<T>(weights[k / 8 + 1][2], weights[k / 8 + 1][3])};
    RT_UNROLL
    for (unsigned n = 0; n < E / 8; ++n) {
      const unsigned at = (8 * n + g) * Shared<T, E>::kValueStride + k + 2 * q;
      const uint32_t b[2] = {pair_at(shared.values, at), pair_at(shared.values, at + 8)};
      mma<T>(state.sums[n], a, b);
    }
  }
}

template <unsigned E>
__device__ void store_rows(const Rows& rows, const Segment& segment, const Matrix& out,
                           const State<E>& state) {
  const unsigned q = threadIdx.x % 4;
  RT_UNROLL
  for (unsigned half = 0; half < 2; ++half) {
    float l = state.l[half];  // every lane of four has summed its own keys
    l += __shfl_xor_sync(0xffffffffu, l, 1);
    l += __shfl_xor_sync(0xffffffffu, l, 2);
    const unsigned row = threadIdx.x / kWarp * 16 + threadIdx.x % kWarp / 4 + 8 * half;
    if (!row_exists(rows, segment, row)) continue;
    const uint64_t at = query_at(rows, segment, row) + 2 * q;
    RT_UNROLL
    for (unsigned n = 0; n < E / 8; ++n) {
      store(out.data, out.element, at + 8 * n, state.sums[n][2 * half] / l);
      store(out.data, out.element, at + 8 * n + 1, state.sums[n][2 * half + 1] / l);
    }
  }
}

template <class T, unsigned E>
__device__ void attend_segment(const Rows& rows, const KvCache& kv, const StepTokens& step,
                               const Segment& segment, const Matrix& q, const Matrix& out) {
  Shared<T, E>& shared = *static_cast<Shared<T, E>*>(dynamic_shared());
  const unsigned row = threadIdx.x / kWarp * 16 + threadIdx.x % kWarp / 4;
  const Range ranges[2] = {range_of(rows, step, segment, row),
                           range_of(rows, step, segment, row + 8)};
  // Of the segment's first and last token: what any of its rows sees.
  const Range seen = {range_of(rows, step, segment, 0).begin,
                      range_of(rows, step, segment, (segment.count - 1) * rows.tile_heads).end};
  load_queries<T, E>(rows, segment, q, shared);
  State<E> state = {};
  state.m[0] = state.m[1] = minus_infinity();
  for (uint64_t base = seen.begin / kTileKeys<E> * kTileKeys<E>; base < seen.end;
       base += kTileKeys<E>) {
    __syncthreads();  // the last tile has been read
    load_keys<T, E>(rows, kv, segment, base, seen, shared);
    load_values<T, E>(rows, kv, segment, base, seen, shared);
    __syncthreads();
    float scores[kTileKeys<E> / 8][4] = {};
    score_tile<T, E>(rows, ranges, base, shared, scores);
    weigh_tile<E>(state, scores);
    add_tile<T, E>(shared, scores, state);
  }
  store_rows<E>(rows, segment, out, state);
  __syncthreads();  // before the queries of the next segment
}

// grid [T / block_tokens, G head_tiles], block 128, shared memory for 64 queries and a tile of keys
// and values: 27 KiB for E = 64, 53 for 128, 71 for 256. Moves the keys below a block's last
// position once for 64 query rows, through L2; bound by tensor cores and the loads that feed them:
// a tile is waited for before it is multiplied, other blocks of the SM fill the gap. A block whose
// tokens belong to several sequences takes one after another.
template <class T, unsigned E>
__global__ void __launch_bounds__(kThreads)
    attend_mma(Rows rows, KvCache kv, StepTokens step, Matrix q, Matrix out) {
  after_previous();
  for_each_segment(rows, step, [&](const Segment& segment) {
    attend_segment<T, E>(rows, kv, step, segment, q, out);
  });
}

template <class T, unsigned E>
void launch_mma(const Rows& rows, const KvCache& kv, const StepTokens& step, const Matrix& q,
                const Matrix& out, void* stream) {
  launch(attend_mma<T, E>, query_grid(rows, step), kThreads, sizeof(Shared<T, E>), stream, rows, kv,
         step, q, out);
}

template <class T>
void launch_width(const Rows& rows, const KvCache& kv, const StepTokens& step, const Matrix& q,
                  const Matrix& out, void* stream) {
  switch (rows.shape.head_width) {
    case 64:
      return launch_mma<T, 64>(rows, kv, step, q, out, stream);
    case 96:
      return launch_mma<T, 96>(rows, kv, step, q, out, stream);
    case 128:
      return launch_mma<T, 128>(rows, kv, step, q, out, stream);
    default:
      return launch_mma<T, 256>(rows, kv, step, q, out, stream);
  }
}

}  // namespace

void attention_mma(const AttentionShape& shape, const KvCache& kv, const StepTokens& step,
                   const Matrix& q, const Matrix& out, void* stream) {
  if (step.tokens == 0) return;
  const Rows rows = query_tiles(shape, kv, kRows);
  if (q.element == Element::kBf16) return launch_width<Bf16>(rows, kv, step, q, out, stream);
  launch_width<F16>(rows, kv, step, q, out, stream);
}

}  // namespace rt::cuda
