// A tile of a matrix product on tensor cores, for prefill, with weights of any type: a dense one
// flows into shared memory behind the threads' backs, a quantized one passes through registers.
//
// Four warps share a tile, a quarter each. Two stages are on their way while one is multiplied, and
// one barrier a stage parts the three. Rows of a stage are not padded: piece p of 16 bytes lies in
// place p XOR a part of the row's number, so that one piece of eight rows meets all banks.
//
// Sums go up K sixteen at a time whatever the tile, so a tile's shape changes no bit.
#pragma once

#include <stdint.h>

#include "kernels/cuda/grid.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/mma.h"

namespace rt::cuda {

constexpr unsigned kMmaThreads = 128;
constexpr unsigned kMmaStages = 3;
constexpr unsigned kPieceElements = 8;  // of 16 bits in 16 bytes

template <unsigned kTileRows, unsigned kTileColumns, unsigned kStageDepth>
struct TileShape {
  static constexpr unsigned kRows = kTileRows;        // of x
  static constexpr unsigned kColumns = kTileColumns;  // of out: rows of the weight
  static constexpr unsigned kDepth = kStageDepth;     // of K at a time
  static constexpr unsigned kPieces = kDepth / kPieceElements;
  static constexpr unsigned kWarpRows = kRows / 2;
  static constexpr unsigned kWarpColumns = kColumns / 2;
};

// A warp's 16 of K: 32 products of tensor cores for 8 loads, 4 KiB of shared memory a warp.
using LargeTile = TileShape<128, 128, 32>;
// For few tokens, where large tiles would leave most multiprocessors without one: an eighth of the
// products, 4 for 3 loads, and four times as much of a row on its way.
using SmallTile = TileShape<64, 32, 128>;

template <class T, class Tile>
struct MmaStage {
  alignas(16) T x[Tile::kRows * Tile::kDepth];
  alignas(16) T weight[Tile::kColumns * Tile::kDepth];
};

// What eight neighbouring rows differ in: rows of 64 bytes share 128 by twos.
template <class Tile>
__device__ inline unsigned row_key(unsigned row) {
  return Tile::kPieces == 4 ? row / 2 % 4 : row % 8;
}
// Where piece `piece` of a row lies in a stage, in elements.
template <class Tile>
__device__ inline unsigned place_of(unsigned row, unsigned piece) {
  return row * Tile::kDepth + (piece ^ row_key<Tile>(row)) * kPieceElements;
}

// kRows rows of a dense matrix from row `first` on, on their way to one stage after another. What
// is not in the matrix is zeros.
template <class T, class Tile, unsigned kRows>
class DenseRows {
 public:
  __device__ DenseRows(const Matrix& m, uint64_t first)
      : columns_(static_cast<uint32_t>(m.columns)),
        column_(threadIdx.x % Tile::kPieces * kPieceElements),
        step_(m.columns * kStepRows),
        place_(place_of<Tile>(threadIdx.x / Tile::kPieces, threadIdx.x % Tile::kPieces)) {
    const uint64_t row = first + threadIdx.x / Tile::kPieces;
    from_ = static_cast<const T*>(m.data) + row * m.columns + column_;
    RT_UNROLL
    for (unsigned i = 0; i < kTurns; ++i) {
      if (row + i * kStepRows < m.rows) present_ |= 1u << i;
    }
  }

  // The next kDepth columns. With their own group of copies they are in `to`.
  __device__ void begin(T* to) {
    const unsigned present = column_ < columns_ ? present_ : 0;
    RT_UNROLL
    for (unsigned i = 0; i < kTurns; ++i) {
      copy16_async(to + place_ + i * kStepRows * Tile::kDepth, from_ + i * step_, present >> i & 1);
    }
    column_ += Tile::kDepth;
    from_ += Tile::kDepth;
  }

 private:
  static constexpr unsigned kStepRows = kMmaThreads / Tile::kPieces;  // key of all: the first's
  static constexpr unsigned kTurns = kRows / kStepRows;
  static_assert(kStepRows % 8 == 0 && kRows % kStepRows == 0);
  const T* from_;
  uint32_t columns_;
  uint32_t column_;
  uint64_t step_;
  unsigned place_;
  unsigned present_ = 0;
};

// The weight of a product, stage after stage; so for one that is dense, of x's type:
//   begin(stage)   asks for the next kDepth columns of the tile's rows
//   finish(stage)  what was asked for goes to the stage, if it is not on its way by itself
//   factor(n)      what the sums of column n of the result are multiplied by
template <class T, class Tile>
class DenseWeight {
 public:
  __device__ DenseWeight(const Matrix& weight, uint64_t first_row) : rows_(weight, first_row) {}
  __device__ void begin(MmaStage<T, Tile>& stage) { rows_.begin(stage.weight); }
  __device__ void finish(MmaStage<T, Tile>&) {}
  __device__ float factor(uint64_t) const { return 1; }

 private:
  DenseRows<T, Tile, Tile::kColumns> rows_;
};

// Sixteen columns of K of a warp's rows and columns, as tensor cores want them.
template <class T, class Tile>
struct Fragments {
  uint32_t x[Tile::kWarpRows / 16][4];
  uint32_t weight[Tile::kWarpColumns / 16][4];
};

// Where the lanes of a warp find them in a stage.
template <class T, class Tile>
class FragmentPlaces {
 public:
  __device__ FragmentPlaces(unsigned row, unsigned column) {
    const unsigned lane = threadIdx.x % kWarp;
    x_ = place_of<Tile>(row + lane % 16, lane / 16);
    weight_ = place_of<Tile>(column + lane / 16 * 8 + lane % 8, lane / 8 % 2);
  }

  // Two pieces further in a row is XOR 2 in a piece's place, 16 rows further the same key.
  __device__ void load(const MmaStage<T, Tile>& stage, unsigned k, Fragments<T, Tile>& to) const {
    const T* const x = stage.x + (x_ ^ k);
    const T* const weight = stage.weight + (weight_ ^ k);
    RT_UNROLL
    for (unsigned i = 0; i < Tile::kWarpRows / 16; ++i) {
      load_matrices(x + i * 16 * Tile::kDepth, to.x[i]);
    }
    RT_UNROLL
    for (unsigned j = 0; j < Tile::kWarpColumns / 16; ++j) {
      load_matrices(weight + j * 16 * Tile::kDepth, to.weight[j]);
    }
  }

 private:
  unsigned x_;
  unsigned weight_;
};

// Of a warp: tiles of 16 rows and 8 columns, four sums of each in a lane (kernels/cuda/mma.h).
template <class Tile>
using Sums = float[Tile::kWarpRows / 16][Tile::kWarpColumns / 8][4];

template <class T, class Tile>
__device__ inline void multiply(const Fragments<T, Tile>& of, Sums<Tile>& sums) {
  RT_UNROLL
  for (unsigned i = 0; i < Tile::kWarpRows / 16; ++i) {
    RT_UNROLL
    for (unsigned j = 0; j < Tile::kWarpColumns / 8; ++j) {
      const unsigned half = j % 2 * 2;
      mma<T>(sums[i][j], of.x[i], {of.weight[j / 2][half], of.weight[j / 2][half + 1]});
    }
  }
}

// The next fragments are on their way while these are multiplied.
template <class T, class Tile>
__device__ inline void multiply_stage(const MmaStage<T, Tile>& stage,
                                      const FragmentPlaces<T, Tile>& places, Sums<Tile>& sums) {
  Fragments<T, Tile> fragments[2];
  places.load(stage, 0, fragments[0]);
  RT_UNROLL
  for (unsigned k = 0; k < Tile::kDepth; k += 16) {
    if (k + 16 < Tile::kDepth) places.load(stage, k + 16, fragments[(k / 16 + 1) % 2]);
    multiply(fragments[k / 16 % 2], sums);
  }
}

// Columns n and n + 1 of a row of out, n even; the second may be past the end.
__device__ inline void store_pair(float* row, uint64_t n, uint64_t columns, float a, float b) {
  row[n] = a;
  if (n + 1 < columns) row[n + 1] = b;
}
template <class T>
__device__ inline void store_pair(T* row, uint64_t n, uint64_t columns, float a, float b) {
  const uint32_t pair = rounded_pair<T>(a, b);
  if (columns % 2 == 0) {
    *reinterpret_cast<uint32_t*>(row + n) = pair;
    return;
  }
  row[n].bits = static_cast<uint16_t>(pair);
  if (n + 1 < columns) row[n + 1].bits = static_cast<uint16_t>(pair >> 16);
}

// A warp's sums to out from (row, column) on.
template <class Out, class Tile, class Weight>
__device__ inline void store_sums(const Matrix& out, const Weight& weight, uint64_t row,
                                  uint64_t column, const Sums<Tile>& sums) {
  constexpr unsigned kTiles = Tile::kWarpColumns / 8;
  const uint64_t first = column + threadIdx.x % 4 * 2;
  float factors[kTiles][2];
  RT_UNROLL
  for (unsigned j = 0; j < kTiles; ++j) {
    RT_UNROLL
    for (unsigned c = 0; c < 2; ++c) {
      const uint64_t n = first + 8 * j + c;
      factors[j][c] = n < out.columns ? weight.factor(n) : 0;
    }
  }
  RT_UNROLL
  for (unsigned half = 0; half < Tile::kWarpRows / 8; ++half) {
    const uint64_t r = row + 8 * half + threadIdx.x % kWarp / 4;
    if (r >= out.rows) return;
    Out* const to = static_cast<Out*>(out.data) + r * out.columns;
    RT_UNROLL
    for (unsigned j = 0; j < kTiles; ++j) {
      if (first + 8 * j >= out.columns) break;
      const float* const pair = sums[half / 2][j] + half % 2 * 2;
      store_pair(to, first + 8 * j, out.columns, pair[0] * factors[j][0], pair[1] * factors[j][1]);
    }
  }
}

// The block's tile of out, of f32 or of x's type; `stages` are kMmaStages.
template <class T, class Tile, class Weight>
__device__ inline void multiply_tile(const Matrix& x, Weight& weight, const Matrix& out,
                                     MmaStage<T, Tile>* stages) {
  const uint64_t first_row = static_cast<uint64_t>(blockIdx.y) * Tile::kRows;
  const uint64_t first_column = static_cast<uint64_t>(blockIdx.x) * Tile::kColumns;
  const unsigned row = threadIdx.x / kWarp / 2 * Tile::kWarpRows;
  const unsigned column = threadIdx.x / kWarp % 2 * Tile::kWarpColumns;
  const auto steps = static_cast<unsigned>((x.columns + Tile::kDepth - 1) / Tile::kDepth);
  const FragmentPlaces<T, Tile> places(row, column);
  DenseRows<T, Tile, Tile::kRows> x_rows(x, first_row);
  Sums<Tile> sums = {};
  RT_UNROLL
  for (unsigned ahead = 0; ahead < kMmaStages - 1; ++ahead) {  // past K: zeros
    x_rows.begin(stages[ahead].x);
    weight.begin(stages[ahead]);
    weight.finish(stages[ahead]);
    copies_begin_group();
  }
  MmaStage<T, Tile>* const end = stages + kMmaStages;
  MmaStage<T, Tile>* now = stages;
  MmaStage<T, Tile>* free = end - 1;
  for (unsigned step = 0; step < steps; ++step) {
    copies_wait<kMmaStages - 2>();  // this stage is here, the next may be on its way
    __syncthreads();                // and nobody reads the one before it any more
    const bool more = step + kMmaStages - 1 < steps;
    if (more) {
      x_rows.begin(free->x);
      weight.begin(*free);
    }
    copies_begin_group();
    multiply_stage(*now, places, sums);
    if (more) weight.finish(*free);
    now = now + 1 == end ? stages : now + 1;
    free = free + 1 == end ? stages : free + 1;
  }
  if (out.element == Element::kF32) {
    store_sums<float, Tile>(out, weight, first_row + row, first_column + column, sums);
  } else {
    store_sums<T, Tile>(out, weight, first_row + row, first_column + column, sums);
  }
}

template <class Tile>
dim3 tile_grid(const Matrix& x, uint64_t weight_rows) {
  return dim3(divide_up(weight_rows, Tile::kColumns), divide_up(x.rows, Tile::kRows));
}

// Whether there are large tiles for half of the multiprocessors.
inline bool takes_large_tiles(const Matrix& x, uint64_t weight_rows) {
  const dim3 grid = tile_grid<LargeTile>(x, weight_rows);
  return uint64_t{grid.x} * grid.y * 2 >= multiprocessors();
}

}  // namespace rt::cuda
