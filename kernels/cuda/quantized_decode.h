// The inner loop of decode with quantized weights: a team of four warps takes rows of weights,
// eight lanes of each warp a quarter of a row, so that a warp has a part of 4 kRows rows.
//
// Each lane takes 16 bytes of codes at a time, so eight of them read 128 adjacent bytes of a row,
// and the four rows of a warp read the same values of x, in the order of value_order.h where a norm
// or an activation has just written them. The pieces that follow are on their way while one is
// multiplied.
//
// A byte of nf4 is looked up as a pair of f32: 256 pairs, 16 copies side by side. A lane uses its
// own copy, so that half a warp's loads of 8 bytes meet all 32 banks and no bank twice; a shuffle
// or a table of nibbles would take twice as many reads. Shared memory and L1 give 128 bytes a cycle
// of a multiprocessor: for 512 bytes of codes 32 cycles of lookups and 8 of bf16 values where kRows
// is 2, so 14.4 bytes of nf4 a cycle with their scales, what an H100 reads (14.5) and seven tenths
// of what an H200 does (20).
//
// A piece lies within one block, so its scale multiplies the piece's sum once. The order of the
// additions depends on K alone: a token gives the same bits whatever stands beside it.
#pragma once

#include "kernels/cuda/launch.h"
#include "kernels/cuda/normed_rows.h"
#include "kernels/cuda/quantized_codes.h"
#include "kernels/cuda/value_order.h"

namespace rt::cuda {

constexpr unsigned kDecodeThreads = 256;
constexpr unsigned kRowLanes = 8;
constexpr unsigned kWarpRows = kWarp / kRowLanes;
constexpr unsigned kTeamWarps = 4;
constexpr unsigned kTeams = kDecodeThreads / kWarp / kTeamWarps;

struct alignas(8) Pair {
  float first;  // of the high nibble
  float second;
};

// 32 KiB, in shared memory.
struct PairTable {
  Pair pairs[256][16];
};

// By all threads of the block; the copies are written in turn, so that no two lanes share a bank.
__device__ inline void fill(PairTable& table, const Codebook& book) {
  const unsigned byte = threadIdx.x;
  const Pair pair = {book.values[byte >> 4], book.values[byte & 15]};
  for (unsigned copy = 0; copy < 16; ++copy) table.pairs[byte][(copy + byte) % 16] = pair;
}
static_assert(kDecodeThreads == 256, "one thread for each byte");

template <class Format>
struct Piece {
  static constexpr unsigned kElements = 16 * Format::kPerByte;
  Bytes16 codes;
  typename Format::RawScale scale;
};

template <class Format>
__device__ inline Piece<Format> load_piece(const typename Format::Row& row, unsigned k) {
  return {bytes_of_weight(row.codes + k / Format::kPerByte), Format::raw_scale(row, k)};
}

// Elements [8 j, 8 j + 8) of a piece, without their scale.
template <class Format>
__device__ inline void unpack(const Piece<Format>& piece, unsigned j, const PairTable& table,
                              float* out) {
  if constexpr (Format::kPerByte == 1) {
    unpack_int8(piece.codes.words[2 * j], out);
    unpack_int8(piece.codes.words[2 * j + 1], out + 4);
  } else {
    const uint32_t word = piece.codes.words[j];
    // pairs[byte][lane % 16]: a permute, and a shift that adds.
    const uint32_t lane = threadIdx.x % 16 * sizeof(Pair);
    const auto* base = reinterpret_cast<const unsigned char*>(&table);
    RT_UNROLL
    for (unsigned byte = 0; byte < 4; ++byte) {
      const uint32_t at = __byte_perm(word, 0, 0x4440 + byte) * sizeof(table.pairs[0]) + lane;
      const Pair pair = *reinterpret_cast<const Pair*>(base + at);
      out[2 * byte] = pair.first;
      out[2 * byte + 1] = pair.second;
    }
  }
}

// Sums over the eight lanes of a row, in all of them.
__device__ inline float row_sum(float x) {
  for (int step = kRowLanes / 2; step > 0; step /= 2) x += __shfl_xor_sync(kAllLanes, x, step);
  return x;
}

// Pieces under way: of each of kRows rows the next kDepth of this lane.
template <class Format, unsigned kRows, unsigned kDepth>
struct PieceStream {
  static constexpr unsigned kElements = Piece<Format>::kElements;
  static constexpr unsigned kStep = kTeamWarps * kRowLanes * kElements;  // of a team
  using Rows = typename Format::Row[kRows];

  Piece<Format> pieces[kRows][kDepth];

  // Where this lane's first piece begins.
  __device__ static unsigned lane_begin() {
    const unsigned part = threadIdx.x / kWarp % kTeamWarps;
    return (part * kRowLanes + threadIdx.x % kRowLanes) * kElements;
  }
  // Slot `slot` gets the piece at k of `rows`, if it is within their K elements.
  __device__ void load(const Rows& rows, unsigned k, unsigned K, unsigned slot) {
    if (k >= K) return;
    RT_UNROLL
    for (unsigned r = 0; r < kRows; ++r) pieces[r][slot] = load_piece<Format>(rows[r], k);
  }
  __device__ void begin(const Rows& rows, unsigned K) {
    RT_UNROLL
    for (unsigned slot = 0; slot < kDepth; ++slot) load(rows, lane_begin() + slot * kStep, K, slot);
  }
};

// ordered_columns on the device.
__device__ inline uint64_t ordered_stride(uint64_t columns) {
  return (columns + kMostOrderBlock - 1) / kMostOrderBlock * kMostOrderBlock;
}

// Where element d of a row lies whose values have the type X and the order of Format.
template <class Format, class X>
__device__ inline uint64_t ordered(uint64_t d) {
  constexpr unsigned kElements = Piece<Format>::kElements;
  constexpr unsigned kLoad = 16 / sizeof(X);  // values of a load
  const auto in_block = static_cast<unsigned>(d % (kRowLanes * kElements));
  const unsigned lane = in_block / kElements;
  const unsigned load = in_block % kElements / kLoad;
  return d - in_block + (load * kRowLanes + lane) * kLoad + in_block % kLoad;
}

// Values of one token for a lane: eight at a time of the piece that begins at element `at`.
template <class Format, class X, bool kOrdered>
struct PieceValues {
  const X* from;

  __device__ PieceValues(const X* row, unsigned at)
      : from(kOrdered ? row + ordered<Format, X>(at) : row + at) {}
  __device__ void load(unsigned j, float (&out)[8]) const {
    if constexpr (kOrdered) {
      constexpr unsigned kLoad = 16 / sizeof(X);
      Raw8<X> raw;
      RT_UNROLL
      for (unsigned i = 0; i < 8 / kLoad; ++i) {
        const unsigned load = j * (8 / kLoad) + i;
        raw.parts[i] = *reinterpret_cast<const Bytes16*>(from + load * kRowLanes * kLoad);
      }
      unpack(raw, out);
    } else {
      load8(from + 8 * j, out);
    }
  }
};

// Adds a piece of each row times its part of x to the sums; rows of x lie `stride` apart.
template <bool kOrdered, class Format, class X, unsigned kRows, unsigned kDepth, unsigned kTokens>
__device__ inline void add_pieces(const PieceStream<Format, kRows, kDepth>& stream, unsigned slot,
                                  const typename Format::Row (&rows)[kRows], const PairTable& table,
                                  const X* x, unsigned at, unsigned stride, unsigned tokens,
                                  float (&sums)[kRows][kTokens]) {
  const PieceValues<Format, X, kOrdered> values(x, at);
  float partial[kRows][kTokens] = {};
  RT_UNROLL
  for (unsigned j = 0; j < Piece<Format>::kElements / 8; ++j) {
    float w[kRows][8];
    RT_UNROLL
    for (unsigned r = 0; r < kRows; ++r) unpack<Format>(stream.pieces[r][slot], j, table, w[r]);
    RT_UNROLL
    for (unsigned t = 0; t < kTokens; ++t) {
      if (t > 0 && t >= tokens) break;
      float value[8];
      PieceValues<Format, X, kOrdered> of_token = values;
      of_token.from += static_cast<uint64_t>(t) * stride;
      of_token.load(j, value);
      RT_UNROLL
      for (unsigned r = 0; r < kRows; ++r) {
        RT_UNROLL
        for (int i = 0; i < 8; ++i) partial[r][t] = fmaf(w[r][i], value[i], partial[r][t]);
      }
    }
  }
  RT_UNROLL
  for (unsigned r = 0; r < kRows; ++r) {
    const float scale = Format::scale(rows[r], stream.pieces[r][slot].scale);
    RT_UNROLL
    for (unsigned t = 0; t < kTokens; ++t) sums[r][t] = fmaf(partial[r][t], scale, sums[r][t]);
  }
}

// sums[r][t] = this warp's part of rows[r] . x[t], in all lanes of the row, of `tokens` rows of x
// that lie `stride` apart; beyond them anything. `stream` holds the first pieces of `rows` before
// and those of `next` after, if `has_next`. K is divisible by the piece. All pieces are used, then
// all asked for again, from rows that are chosen without a branch: dot_rows.h has the reason.
template <bool kOrdered, class Format, class X, unsigned kRows, unsigned kDepth, unsigned kTokens>
__device__ inline void dot_pieces(PieceStream<Format, kRows, kDepth>& stream,
                                  const typename Format::Row (&rows)[kRows],
                                  const typename Format::Row (&next)[kRows], bool has_next,
                                  const PairTable& table, const X* x, unsigned K, unsigned stride,
                                  unsigned tokens, float (&sums)[kRows][kTokens]) {
  using Stream = PieceStream<Format, kRows, kDepth>;
  constexpr unsigned kTurn = Stream::kStep * kDepth;
  RT_UNROLL
  for (unsigned r = 0; r < kRows; ++r) {
    RT_UNROLL
    for (unsigned t = 0; t < kTokens; ++t) sums[r][t] = 0;
  }
  for (unsigned k = 0; k < K; k += kTurn) {
    const bool is_last = K - k <= kTurn;
    RT_UNROLL
    for (unsigned slot = 0; slot < kDepth; ++slot) {
      const unsigned at = Stream::lane_begin() + slot * Stream::kStep;
      if (k + at < K) {
        add_pieces<kOrdered, Format, X, kRows, kDepth, kTokens>(stream, slot, rows, table, x,
                                                                k + at, stride, tokens, sums);
      }
    }
    typename Format::Row from[kRows];
    RT_UNROLL
    for (unsigned r = 0; r < kRows; ++r) from[r] = is_last ? next[r] : rows[r];
    const unsigned begin = is_last ? 0 : k + kTurn;
    const unsigned limit = is_last && !has_next ? 0 : K;
    RT_UNROLL
    for (unsigned slot = 0; slot < kDepth; ++slot) {
      stream.load(from, begin + Stream::lane_begin() + slot * Stream::kStep, limit, slot);
    }
  }
  RT_UNROLL
  for (unsigned t = 0; t < kTokens; ++t) {
    if (t > 0 && t >= tokens) break;
    RT_UNROLL
    for (unsigned r = 0; r < kRows; ++r) sums[r][t] = row_sum(sums[r][t]);
  }
}

// The whole product for one row of a weight of any width and an x of any alignment, by eight lanes,
// element by element.
template <unsigned kTokens>
__device__ inline void dot_elements(const QuantizedMatrix& weight, uint64_t n,
                                    const SharedCodebook& book, const Matrix& x, TokenRange tokens,
                                    float (&sums)[kTokens]) {
  RT_UNROLL
  for (unsigned t = 0; t < kTokens; ++t) sums[t] = 0;
  for (uint64_t k = threadIdx.x % kRowLanes; k < x.columns; k += kRowLanes) {
    const float w = value_at(weight, book, n, k);
    RT_UNROLL
    for (unsigned t = 0; t < kTokens; ++t) {
      if (t >= tokens.count) break;
      sums[t] = fmaf(w, load(x.data, x.element, (tokens.first + t) * x.columns + k), sums[t]);
    }
  }
  RT_UNROLL
  for (unsigned t = 0; t < kTokens; ++t) sums[t] = row_sum(sums[t]);
}

// True if rows of codes are whole 16-byte pieces within one block each, and rows of x can be read
// eight elements at a time.
inline bool in_pieces(const QuantizedMatrix& weight, const Matrix& x) {
  return weight.columns % (weight.kind == Codes::kInt8 ? 16 : 32) == 0 && rows_aligned(x);
}

}  // namespace rt::cuda
