// Prefill on tensor cores: a block takes 64 query rows (tokens times the heads of one group) of one
// sequence at a time, 16 for each warp, and walks their keys in tiles. Scores and sums are f32 and
// stay in registers; queries, keys, values and softmax weights are rounded to the values' 16 bits,
// whatever the cache's type. A cache of the values' type is copied to shared memory behind the
// block's back: the next keys while weights meet values, the next values while queries meet keys.
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
constexpr unsigned kPad = 8;  // halves; rows of E + 8 meet 32 banks at loads of 8 x 8

// Keys of a tile; tiles begin at multiples of it. 32 where the sums alone take 128 registers.
template <unsigned E>
constexpr unsigned kTileKeys = E > 128 ? 32 : 64;

// Where the queries of a warp stay in registers: 32 of them for E = 128.
template <unsigned E>
constexpr bool kKeepsQueries = E <= 128;

using Rows = QueryTiles;

template <class T, unsigned E>
struct Shared {
  static constexpr unsigned kStride = E + kPad;
  alignas(16) T q[kRows * kStride];
  alignas(16) T keys[kTileKeys<E> * kStride];
  alignas(16) T values[kTileKeys<E> * kStride];
};

// The keys [begin, end) that a row sees; none if it does not exist.
struct Range {
  uint32_t begin;
  uint32_t end;
};
__device__ inline Range range_of(const Rows& rows, const StepTokens& step, const Segment& segment,
                                 unsigned row) {
  if (!row_exists(rows, segment, row)) return {0, 0};
  const uint32_t end =
      static_cast<uint32_t>(step.positions[segment.first + row / rows.tile_heads]) + 1;
  const uint32_t window = rows.shape.window;
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
    store8(shared.q, row * Shared<T, E>::kStride + e, 0, true, values);
  }
}

// The keys [first, last) that some row of a tile sees, and where the first one's rows are. A tile
// is one run of rows unless stripes end within it.
struct TileKeys {
  uint32_t first;
  uint32_t last;
  bool is_run;
  const unsigned char* rows[2];  // of keys and values
};

template <unsigned E>
__device__ TileKeys tile_keys(const KvCache& kv, const Segment& segment, uint32_t base,
                              Range range) {
  const uint32_t first = base > range.begin ? base : range.begin;
  const uint32_t end = base + kTileKeys<E>;
  const uint32_t last = end < range.end ? end : range.end;
  const KvRun run = kv_run(kv, segment.b, first);
  return {first, last, last - first <= run.tokens, {run.keys, run.values}};
}

// Copies a tile from a run of rows of T: some lanes share a row, each takes pieces of 16 bytes that
// lie as far apart as these lanes reach.
template <class T, unsigned E>
__device__ void copy_run(const KvCache& kv, const Segment& segment, KvStream stream, uint32_t base,
                         const TileKeys& tile, T* to) {
  constexpr unsigned kLanes = E / 8 % 8 == 0 ? 8 : 4;
  constexpr unsigned kStepRows = kThreads / kLanes;
  const uint64_t row_bytes = stream == kKeys ? kv.row_bytes[0] : kv.row_bytes[1];
  const unsigned e = threadIdx.x % kLanes * 8;
  const unsigned row = threadIdx.x / kLanes;
  const auto behind = static_cast<int32_t>(base + row - tile.first);  // negative: not there
  const unsigned char* from = (stream == kKeys ? tile.rows[0] : tile.rows[1]) +
                              behind * static_cast<int64_t>(row_bytes) +
                              (uint64_t{segment.g} * E + e) * sizeof(T);
  T* const at = to + row * Shared<T, E>::kStride + e;
  RT_UNROLL
  for (unsigned turn = 0; turn < kTileKeys<E> / kStepRows; ++turn) {
    const bool present = static_cast<uint32_t>(behind) + turn * kStepRows < tile.last - tile.first;
    RT_UNROLL
    for (unsigned piece = 0; piece < E / 8 / kLanes; ++piece) {
      const unsigned off = piece * kLanes * 8;
      copy16_async(at + turn * kStepRows * Shared<T, E>::kStride + off, from + off * sizeof(T),
                   present);
    }
    from += kStepRows * row_bytes;
  }
}

// The same from rows that lie anywhere and of any type.
template <class T, unsigned E>
__device__ void gather_tile(const Rows& rows, const KvCache& kv, const Segment& segment,
                            KvStream stream, uint32_t base, const TileKeys& tile, bool as_it_lies,
                            T* to) {
  for (unsigned i = threadIdx.x; i < kTileKeys<E> * (E / 8); i += kThreads) {
    const uint32_t t = base + i / (E / 8);
    const unsigned e = i % (E / 8) * 8;
    T* const at = to + i / (E / 8) * Shared<T, E>::kStride + e;
    const bool present = t >= tile.first && t < tile.last;
    const unsigned char* row = kv_row(kv, segment.b, present ? t : tile.first, stream);
    if (as_it_lies) {
      copy16_async(at, row + (uint64_t{segment.g} * E + e) * sizeof(T), present);
      continue;
    }
    float values[8] = {};
    if (present) load_cache8(kv, row, segment.g, e, rows.kv_is_aligned, values);
    store8(at, 0, 0, true, values);
  }
}

// Begins to bring the keys or values of the tile at `base` to shared memory; those that no row sees
// are 0. What is copied as it lies arrives with the thread's next group of copies, what is rounded
// is there at the barrier.
template <class T, unsigned E>
__device__ void begin_tile(const Rows& rows, const KvCache& kv, const Segment& segment,
                           KvStream stream, uint32_t base, const TileKeys& tile, T* to) {
  const bool as_it_lies =
      rows.kv_is_aligned &&
      kv.element == (std::is_same_v<T, Bf16> ? KvElement::kBf16 : KvElement::kF16);
  if (as_it_lies && tile.is_run) {
    copy_run<T, E>(kv, segment, stream, base, tile, to);
  } else {
    gather_tile<T, E>(rows, kv, segment, stream, base, tile, as_it_lies, to);
  }
  copies_begin_group();
}

// What a lane holds of its warp's rows g and g + 8 (kernels/cuda/mma.h): of every eight columns of
// the sums the two from 2 q on. m is in powers of two.
template <unsigned E>
struct State {
  float m[2];
  float l[2];
  float sums[E / 8][4];
};

// The queries of a warp as left operands, 16 columns each.
template <class T, unsigned E>
__device__ inline void load_query(const Shared<T, E>& shared, unsigned k, uint32_t (&a)[4]) {
  const unsigned lane = threadIdx.x % kWarp;
  const unsigned row = threadIdx.x / kWarp * 16 + lane % 16;
  load_matrices(shared.q + row * Shared<T, E>::kStride + k + lane / 16 * 8, a);
}

template <class T, unsigned E>
struct Queries {
  uint32_t a[kKeepsQueries<E> ? E / 16 : 1][4];

  __device__ void begin(const Shared<T, E>& shared) {
    if constexpr (kKeepsQueries<E>) {
      RT_UNROLL
      for (unsigned k = 0; k < E / 16; ++k) load_query<T, E>(shared, 16 * k, a[k]);
    }
  }
  __device__ const uint32_t (&at(const Shared<T, E>& shared, unsigned k))[4] {
    if constexpr (kKeepsQueries<E>) return a[k / 16];
    load_query<T, E>(shared, k, a[0]);
    return a[0];
  }
};

template <class T, unsigned E>
__device__ void score_tile(Queries<T, E>& queries, const Shared<T, E>& shared,
                           float (&scores)[kTileKeys<E> / 8][4]) {
  const unsigned lane = threadIdx.x % kWarp;
  const T* const own =
      shared.keys + (lane / 16 * 8 + lane % 8) * Shared<T, E>::kStride + lane / 8 % 2 * 8;
  RT_UNROLL
  for (unsigned k = 0; k < E; k += 16) {
    const uint32_t(&a)[4] = queries.at(shared, k);
    RT_UNROLL
    for (unsigned j = 0; j < kTileKeys<E> / 8; j += 2) {
      uint32_t b[4];  // of 16 keys
      load_matrices(own + 8 * j * Shared<T, E>::kStride + k, b);
      mma<T>(scores[j], a, {b[0], b[1]});
      mma<T>(scores[j + 1], a, {b[2], b[3]});
    }
  }
}

// Scaled and capped, in powers of two.
template <unsigned E>
__device__ void scale_tile(const Rows& rows, float (&scores)[kTileKeys<E> / 8][4]) {
  const float softcap = rows.shape.softcap;
  if (softcap > 0) {
    RT_UNROLL
    for (unsigned i = 0; i < kTileKeys<E> / 2; ++i) {
      float& score = scores[i / 4][i % 4];
      score = capped_nearly(score, rows.shape.scale, softcap) * kLog2OfE;
    }
    return;
  }
  const float scale = rows.shape.scale * kLog2OfE;
  RT_UNROLL
  for (unsigned i = 0; i < kTileKeys<E> / 2; ++i) scores[i / 4][i % 4] *= scale;
}

// What a row does not see is -infinity. Nothing to do in all tiles but those at the diagonal and
// where the window begins.
template <unsigned E>
__device__ void mask_tile(const Range (&ranges)[2], uint32_t base,
                          float (&scores)[kTileKeys<E> / 8][4]) {
  if (base >= ranges[0].begin && base >= ranges[1].begin && base + kTileKeys<E> <= ranges[0].end &&
      base + kTileKeys<E> <= ranges[1].end) {
    return;
  }
  const unsigned q = threadIdx.x % 4;
  RT_UNROLL
  for (unsigned i = 0; i < kTileKeys<E> / 2; ++i) {
    const uint32_t key = base + i / 4 * 8 + 2 * q + i % 2;
    const Range range = ranges[i / 2 % 2];
    const bool visible = key >= range.begin && key < range.end;
    scores[i / 4][i % 4] = visible ? scores[i / 4][i % 4] : minus_infinity();
  }
}

// Scores become weights, and what has been summed is rescaled to the new maximum, which in most
// tiles is the old one. (A scale within the exponent, score * scale - m in one operation, would
// save one: but m is rounded, and where scores are huge the largest weight would be far from 1.)
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
    // A row that has seen nothing yet: its weights are 2^-infinity all the same.
    const float from = m == minus_infinity() ? 0.0f : m;
    const float keep = power_of_two(state.m[half] - from);
    state.m[half] = m;
    state.l[half] *= keep;
    if (keep != 1) {
      RT_UNROLL
      for (unsigned n = 0; n < E / 8; ++n) {
        state.sums[n][2 * half] *= keep;
        state.sums[n][2 * half + 1] *= keep;
      }
    }
    RT_UNROLL
    for (unsigned j = 0; j < kTileKeys<E> / 8; ++j) {
      RT_UNROLL
      for (unsigned c = 2 * half; c < 2 * half + 2; ++c) {
        scores[j][c] = power_of_two(scores[j][c] - from);
        state.l[half] += scores[j][c];
      }
    }
  }
}

// The weights of 16 keys lie in a lane as the next product wants its left operand.
template <class T, unsigned E>
__device__ void add_tile(const Shared<T, E>& shared, const float (&weights)[kTileKeys<E> / 8][4],
                         State<E>& state) {
  const unsigned lane = threadIdx.x % kWarp;
  const T* const own = shared.values + lane % 16 * Shared<T, E>::kStride + lane / 16 * 8;
  RT_UNROLL
  for (unsigned k = 0; k < kTileKeys<E>; k += 16) {
    const uint32_t a[4] = {rounded_pair<T>(weights[k / 8][0], weights[k / 8][1]),
                           rounded_pair<T>(weights[k / 8][2], weights[k / 8][3]),
                           rounded_pair<T>(weights[k / 8 + 1][0], weights[k / 8 + 1][1]),
                           rounded_pair<T>(weights[k / 8 + 1][2], weights[k / 8 + 1][3])};
    RT_UNROLL
    for (unsigned n = 0; n < E / 8; n += 2) {
      uint32_t b[4];  // of 16 columns
      load_transposed(own + k * Shared<T, E>::kStride + 8 * n, b);
      mma<T>(state.sums[n], a, {b[0], b[1]});
      mma<T>(state.sums[n + 1], a, {b[2], b[3]});
    }
  }
}

template <class T, unsigned E>
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
    T* const at = static_cast<T*>(out.data) + query_at(rows, segment, row) + 2 * q;
    RT_UNROLL
    for (unsigned n = 0; n < E / 8; ++n) {
      *reinterpret_cast<uint32_t*>(at + 8 * n) =
          rounded_pair<T>(state.sums[n][2 * half] / l, state.sums[n][2 * half + 1] / l);
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
  uint32_t base = seen.begin / kTileKeys<E> * kTileKeys<E>;
  TileKeys tile = tile_keys<E>(kv, segment, base, seen);
  begin_tile<T, E>(rows, kv, segment, kKeys, base, tile, shared.keys);
  begin_tile<T, E>(rows, kv, segment, kValues, base, tile, shared.values);
  load_queries<T, E>(rows, segment, q, shared);
  __syncthreads();
  Queries<T, E> queries;
  queries.begin(shared);
  State<E> state = {};
  state.m[0] = state.m[1] = minus_infinity();
  for (; base < seen.end; base += kTileKeys<E>) {
    const uint32_t next = base + kTileKeys<E>;
    const bool more = next < seen.end;
    float scores[kTileKeys<E> / 8][4] = {};
    copies_wait<1>();  // the keys are there, the values under way
    __syncthreads();
    score_tile<T, E>(queries, shared, scores);
    __syncthreads();
    if (more) {
      tile = tile_keys<E>(kv, segment, next, seen);
      begin_tile<T, E>(rows, kv, segment, kKeys, next, tile, shared.keys);
    }
    scale_tile<E>(rows, scores);
    mask_tile<E>(ranges, base, scores);
    weigh_tile<E>(state, scores);
    if (more) {
      copies_wait<1>();
    } else {
      copies_wait<0>();
    }
    __syncthreads();
    add_tile<T, E>(shared, scores, state);
    __syncthreads();
    if (more) begin_tile<T, E>(rows, kv, segment, kValues, next, tile, shared.values);
  }
  store_rows<T, E>(rows, segment, out, state);
}

// grid [T / block_tokens, G head_tiles], block 128, shared memory for 64 queries and a tile of keys
// and values: 27 KiB for E = 64, 51 for 128, 66 for 256. Moves the keys below a block's last
// position once for 64 query rows, through L2; bound by tensor cores. A block whose tokens belong
// to several sequences takes one after another.
template <class T, unsigned E>
__global__ void __launch_bounds__(kThreads, 2)
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
