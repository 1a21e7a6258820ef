#include "kernels/cuda/mlp.h"

#include "kernels/cuda/activation.h"
#include "kernels/cuda/dense_rows.h"
#include "kernels/cuda/tile.h"

namespace rt::cuda {
namespace {

constexpr unsigned kThreads = 256;

// A warp has a row of gate and the row of up that it meets, so that hidden is written once and
// nothing between is.
template <class W>
struct GateUp {
  using Weight = W;
  static constexpr unsigned kRows = 2;
  static constexpr bool kNorms = true;
  Matrix gate;
  Matrix up;
  Activation activation;
  Matrix hidden;
  Arrivals arrivals;

  __device__ uint64_t groups() const { return gate.rows; }
  __device__ const W* row(uint64_t group, unsigned r) const {
    return static_cast<const W*>(r == 0 ? gate.data : up.data) + group * gate.columns;
  }
  template <unsigned kTokens>
  __device__ void store_sums(uint64_t group, TokenRange tokens,
                             const float (&sums)[2][kTokens]) const {
    const unsigned t = threadIdx.x % kWarp;  // of which a lane finishes one
    if (t == 0) clear(arrivals, group, groups());
    if (t >= tokens.count) return;
    store(hidden.data, hidden.element, (tokens.first + t) * hidden.columns + group,
          activated(sum_of_lane(sums, 0, t), sum_of_lane(sums, 1, t), activation));
  }
};

// grid [F / 64, T / 64], block 256, 12.8 KiB of shared memory. As linear_tiles, with two weights.
__global__ void __launch_bounds__(kTileThreads)
    gate_up_tiles(Matrix x, Matrix gate, Matrix up, Activation activation, Matrix hidden) {
  after_previous();
  __shared__ Tile x_tile;
  __shared__ Tile gate_tile;
  __shared__ Tile up_tile;
  const uint64_t first_row = static_cast<uint64_t>(blockIdx.y) * kTileRows;
  const uint64_t first_column = static_cast<uint64_t>(blockIdx.x) * kTileRows;
  float gates[4][4] = {};
  float ups[4][4] = {};
  for (uint64_t k = 0; k < x.columns; k += kTileColumns) {
    load_tile(x, first_row, k, x_tile);
    load_tile(gate, first_column, k, gate_tile);
    load_tile(up, first_column, k, up_tile);
    __syncthreads();
    multiply_tiles(x_tile, gate_tile, gates);
    multiply_tiles(x_tile, up_tile, ups);
    __syncthreads();
  }
  for (unsigned i = 0; i < 4; ++i) {
    const uint64_t row = first_row + threadIdx.x / 16 * 4 + i;
    for (unsigned j = 0; j < 4; ++j) {
      const uint64_t column = first_column + threadIdx.x % 16 * 4 + j;
      if (row >= hidden.rows || column >= hidden.columns) continue;
      store(hidden.data, hidden.element, row * hidden.columns + column,
            activated(gates[i][j], ups[i][j], activation));
    }
  }
}

// grid [T F / 256], block 256, no shared memory. Moves 3 T F values; bound by bandwidth.
__global__ void __launch_bounds__(kThreads)
    activate_elements(Matrix gate, Matrix up, Activation activation, Matrix hidden) {
  after_previous();
  const uint64_t i = static_cast<uint64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= hidden.rows * hidden.columns) return;
  store(hidden.data, hidden.element, i,
        activated(load(gate.data, gate.element, i), load(up.data, up.element, i), activation));
}

template <class W>
void launch_weights(const NormedRows& rows, const Matrix& gate, const Matrix& up,
                    Activation activation, const Matrix& hidden, const Arrivals& arrivals,
                    void* stream) {
  const GateUp<W> job = {gate, up, activation, hidden, arrivals};
  if (!rows_aligned(gate) || !rows_aligned(up) || !rows_aligned(rows.x)) {
    return launch_dense_elements(rows, job, gate.rows, stream);
  }
  if (rows.x.rows > 1) return launch_dense<kMostTokens>(rows, job, gate.rows, stream);
  launch_dense<1>(rows, job, gate.rows, stream);
}

}  // namespace

void gate_up_vector(const Matrix& x, const Matrix& gate, const Matrix& up, Activation activation,
                    const Matrix& hidden, void* stream) {
  normed_gate_up_vector(plain_rows(x), gate, up, activation, hidden, {}, stream);
}

void normed_gate_up_vector(const NormedRows& rows, const Matrix& gate, const Matrix& up,
                           Activation activation, const Matrix& hidden, const Arrivals& arrivals,
                           void* stream) {
  if (rows.x.rows == 0) return;
  const auto launch_for = gate.element == Element::kF32    ? launch_weights<float>
                          : gate.element == Element::kBf16 ? launch_weights<Bf16>
                                                           : launch_weights<F16>;
  launch_for(rows, gate, up, activation, hidden, arrivals, stream);
}

void gate_up_tiled(const Matrix& x, const Matrix& gate, const Matrix& up, Activation activation,
                   const Matrix& hidden, void* stream) {
  if (x.rows == 0) return;
  const dim3 grid(divide_up(gate.rows, kTileRows), divide_up(x.rows, kTileRows));
  launch(gate_up_tiles, grid, kTileThreads, 0, stream, x, gate, up, activation, hidden);
}

void activate(const Matrix& gate, const Matrix& up, Activation activation, const Matrix& hidden,
              void* stream) {
  const uint64_t count = hidden.rows * hidden.columns;
  if (count == 0) return;
  launch(activate_elements, dim3(divide_up(count, kThreads)), kThreads, 0, stream, gate, up,
         activation, hidden);
}

}  // namespace rt::cuda
