#include <stdint.h>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/mma_tile.h"
#include "kernels/cuda/quantized_codes.h"
#include "kernels/cuda/quantized_linear.h"

namespace rt::cuda {
namespace {

// The values of NF4, one copy for each lane: no two lanes in one bank.
struct NibbleTable {
  float values[16][kWarp];

  // Of the nibble that begins at that bit: a shift and an operation of logic make its place.
  __device__ float of(uint32_t word, unsigned bit) const {
    constexpr uint32_t kRow = 7;  // 128 bytes: log2
    const uint32_t row = (bit < kRow ? word << (kRow - bit) : word >> (bit - kRow)) & 15u << kRow;
    const auto* const bytes = reinterpret_cast<const unsigned char*>(values);
    return *reinterpret_cast<const float*>(bytes + (row | threadIdx.x % kWarp * sizeof(float)));
  }
};

// What a block has in shared memory.
template <class T, class Tile>
struct Shared {
  MmaStage<T, Tile> stages[kMmaStages];
  NibbleTable table;
};

// Sixteen bytes of codes, under way until they are unpacked. They lie in one block.
template <class Format>
struct CodePiece {
  static constexpr unsigned kElements = 16 * Format::kPerByte;
  Bytes16 codes;
  typename Format::RawScale scale;

  // Elements [8 j, 8 j + 8); those of int8 without the scale of their row.
  __device__ void unpack(unsigned j, const typename Format::Row& row, const NibbleTable& table,
                         float (&values)[8]) const {
    if constexpr (Format::kPerByte == 1) {
      unpack_int8(codes.words[2 * j], values);
      unpack_int8(codes.words[2 * j + 1], values + 4);
    } else {
      const float factor = Format::scale(row, scale);
      RT_UNROLL
      for (unsigned i = 0; i < 8; ++i) {
        values[i] = table.of(codes.words[j], i / 2 * 8 + (i % 2 == 0 ? 4 : 0)) * factor;
      }
    }
  }
};

// The rows of a quantized weight for a tile: its codes are in flight while the stages before are
// multiplied, a piece a thread of nf4 and two of int8. What is past the end is any row's and any
// column's: sums past N are not stored, and x is zeros past K.
template <class T, class Tile, class Format>
class QuantizedWeight {
 public:
  __device__ QuantizedWeight(const QuantizedMatrix& weight, const NibbleTable& table)
      : weight_(weight), table_(table) {
    RT_UNROLL
    for (unsigned i = 0; i < kPieces; ++i) {
      const uint64_t n = static_cast<uint64_t>(blockIdx.x) * Tile::kColumns + row_of(i);
      rows_[i] = Format::row(weight, weight.map, n < weight.rows ? n : 0);
    }
  }

  __device__ void begin(MmaStage<T, Tile>&) {
    const uint32_t k = column_ < static_cast<uint32_t>(weight_.columns) ? column_ : 0;
    RT_UNROLL
    for (unsigned i = 0; i < kPieces; ++i) {
      pieces_[i] = {*reinterpret_cast<const Bytes16*>(rows_[i].codes + k / Format::kPerByte),
                    Format::raw_scale(rows_[i], k)};
    }
    column_ += Tile::kDepth;
  }

  __device__ void finish(MmaStage<T, Tile>& stage) {
    RT_UNROLL
    for (unsigned i = 0; i < kPieces; ++i) {
      RT_UNROLL
      for (unsigned j = 0; j < Piece::kElements / 8; ++j) {
        float values[8];
        pieces_[i].unpack(j, rows_[i], table_, values);
        const unsigned place =
            place_of<Tile>(row_of(i), threadIdx.x % kRowPieces * (Piece::kElements / 8) + j);
        *reinterpret_cast<Raw8<T>*>(stage.weight + place) = pack(values, stage.weight);
      }
    }
  }

  __device__ float factor(uint64_t n) const { return Format::row_scale(weight_, n); }

 private:
  using Piece = CodePiece<Format>;
  static constexpr unsigned kRowPieces = Tile::kDepth / Piece::kElements;
  static constexpr unsigned kPieces = Tile::kColumns * kRowPieces / kMmaThreads;

  __device__ static unsigned row_of(unsigned i) {
    return (i * kMmaThreads + threadIdx.x) / kRowPieces;
  }

  const QuantizedMatrix& weight_;
  const NibbleTable& table_;
  typename Format::Row rows_[kPieces];
  Piece pieces_[kPieces];
  uint32_t column_ = threadIdx.x % kRowPieces * Piece::kElements;
};

// grid [N / columns, T / rows of the tile], block 128, 50 or 74 KiB of shared memory. As
// linear_mma_tiles, with a half to a quarter of the weight's bytes; beside tensor cores some five
// instructions for each weight of a tile, paid once for its rows of x. nf4's lookups take half as
// much of shared memory again.
template <class T, class Tile, class Format>
__global__ void __launch_bounds__(kMmaThreads)
    quantized_mma_tiles(Matrix x, QuantizedMatrix weight, Matrix out, Codebook book) {
  auto& shared = *static_cast<Shared<T, Tile>*>(dynamic_shared());
  if constexpr (Format::kPerByte == 2) {
    if (threadIdx.x < kWarp) {
      RT_UNROLL
      for (unsigned i = 0; i < 16; ++i) shared.table.values[i][threadIdx.x] = book.values[i];
    }
    __syncthreads();
  }
  after_previous();
  QuantizedWeight<T, Tile, Format> rows(weight, shared.table);
  multiply_tile(x, rows, out, shared.stages);
}

template <class T, class Tile>
auto kernel_for(Codes kind) {
  return kind == Codes::kInt8  ? quantized_mma_tiles<T, Tile, Int8Codes>
         : kind == Codes::kNf4 ? quantized_mma_tiles<T, Tile, Nf4Codes>
                               : quantized_mma_tiles<T, Tile, Nf4DqCodes>;
}

template <class T, class Tile>
void launch_tiles(const Matrix& x, const QuantizedMatrix& weight, const Matrix& out, void* stream) {
  launch(kernel_for<T, Tile>(weight.kind), tile_grid<Tile>(x, weight.rows), kMmaThreads,
         sizeof(Shared<T, Tile>), stream, x, weight, out, kNf4Codebook);
}

template <class T>
void launch_values(const Matrix& x, const QuantizedMatrix& weight, const Matrix& out,
                   void* stream) {
  if (takes_large_tiles(x, weight.rows)) {
    return launch_tiles<T, LargeTile>(x, weight, out, stream);
  }
  launch_tiles<T, SmallTile>(x, weight, out, stream);
}

}  // namespace

void quantized_linear_mma(const Matrix& x, const QuantizedMatrix& weight, const Matrix& out,
                          void* stream) {
  if (x.rows == 0) return;
  if (x.element == Element::kBf16) return launch_values<Bf16>(x, weight, out, stream);
  launch_values<F16>(x, weight, out, stream);
}

}  // namespace rt::cuda
