#include <stdint.h>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/mma_tile.h"
#include "kernels/cuda/quantized_codes.h"
#include "kernels/cuda/quantized_linear.h"

namespace rt::cuda {
namespace {

// The sixteen values of NF4 times a scale, rounded, in registers: of entries 4 i to 4 i + 3 the low
// bytes in low[i], the high bytes in high[i].
template <class T>
struct ScaledBook {
  uint32_t low[4];
  uint32_t high[4];

  __device__ ScaledBook(const Codebook& book, float scale) {
    RT_UNROLL
    for (unsigned i = 0; i < 4; ++i) {
      const float* const four = book.values + 4 * i;
      const uint32_t first = rounded_pair<T>(four[0] * scale, four[1] * scale);
      const uint32_t second = rounded_pair<T>(four[2] * scale, four[3] * scale);
      low[i] = permute_bytes(first, second, 0x6420);
      high[i] = permute_bytes(first, second, 0x7531);
    }
  }

  // Four codes, as nibbles of the selector, of one plane; `upper` has bytes of ones for those of
  // eight and more.
  __device__ static uint32_t plane(const uint32_t (&bytes)[4], uint32_t selector, uint32_t upper) {
    return (permute_bytes(bytes[0], bytes[1], selector) & ~upper) |
           (permute_bytes(bytes[2], bytes[3], selector) & upper);
  }

  // Eight codes to eight values. Nibbles come from the low one up, elements with the high one of
  // each byte first.
  __device__ Raw8<T> of(uint32_t codes) const {
    const uint32_t in_half = codes & 0x77777777u;
    const uint32_t low_nibbles = codes << 4;
    Raw8<T> out;
    RT_UNROLL
    for (unsigned half = 0; half < 2; ++half) {
      const uint32_t selector = in_half >> (16 * half);
      const uint32_t upper = permute_bytes(codes, low_nibbles, half == 0 ? 0x9d8c : 0xbfae);
      const uint32_t lows = plane(low, selector, upper);
      const uint32_t highs = plane(high, selector, upper);
      out.parts[0].words[2 * half] = permute_bytes(lows, highs, 0x4051);
      out.parts[0].words[2 * half + 1] = permute_bytes(lows, highs, 0x6273);
    }
    return out;
  }
};

// Sixteen bytes of codes, under way until they are unpacked. They lie in one block.
template <class Format>
struct CodePiece {
  static constexpr unsigned kElements = 16 * Format::kPerByte;
  Bytes16 codes;
  typename Format::RawScale scale;

  // store(j, values) for elements [8 j, 8 j + 8); those of int8 are without the scale of their row.
  template <class T, class Store>
  __device__ void unpack(const typename Format::Row& row, const Codebook& book,
                         const Store& store) const {
    if constexpr (Format::kPerByte == 1) {
      RT_UNROLL
      for (unsigned j = 0; j < 2; ++j) {
        float values[8];
        unpack_int8(codes.words[2 * j], values);
        unpack_int8(codes.words[2 * j + 1], values + 4);
        store(j, pack(values, static_cast<const T*>(nullptr)));
      }
    } else {
      const ScaledBook<T> products(book, Format::scale(row, scale));
      RT_UNROLL
      for (unsigned j = 0; j < 4; ++j) store(j, products.of(codes.words[j]));
    }
  }
};

// The rows of a quantized weight for a tile: its codes are in flight while the stages before are
// multiplied, a piece a thread of nf4 and two of int8. What is past the end is any row's and any
// column's: sums past N are not stored, and x is zeros past K.
template <class T, class Tile, class Format>
class QuantizedWeight {
 public:
  __device__ QuantizedWeight(const QuantizedMatrix& weight, const Codebook& book)
      : weight_(weight), book_(book) {
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
      const unsigned row = row_of(i);
      const unsigned first = threadIdx.x % kRowPieces * (Piece::kElements / 8);
      pieces_[i].template unpack<T>(rows_[i], book_, [&](unsigned j, const Raw8<T>& values) {
        *reinterpret_cast<Raw8<T>*>(stage.weight + place_of<Tile>(row, first + j)) = values;
      });
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
  const Codebook& book_;
  typename Format::Row rows_[kPieces];
  Piece pieces_[kPieces];
  uint32_t column_ = threadIdx.x % kRowPieces * Piece::kElements;
};

// grid [N / columns, T / rows of the tile], block 128, 48 or 72 KiB of shared memory. As
// linear_mma_tiles, with a half to a quarter of the weight's bytes; beside tensor cores some four
// instructions for each weight of a tile, paid once for its rows of x.
template <class T, class Tile, class Format>
__global__ void __launch_bounds__(kMmaThreads)
    quantized_mma_tiles(Matrix x, QuantizedMatrix weight, Matrix out, Codebook book) {
  after_previous();
  auto* const stages = static_cast<MmaStage<T, Tile>*>(dynamic_shared());
  QuantizedWeight<T, Tile, Format> rows(weight, book);
  multiply_tile(x, rows, out, stages);
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
         kMmaStages * sizeof(MmaStage<T, Tile>), stream, x, weight, out, kNf4Codebook);
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
