// Instructions between the lanes of a warp: shuffles, votes, products of matrices, barriers.
#include "core/sdk/number.hpp"
#include "tests/ptx/lanes.h"
#include "tests/ptx/operations.h"

namespace ptx {
namespace {

enum class Shuffle { kUp, kDown, kButterfly, kIndex };

// from: value, lane or distance, segments, members.
template <Shuffle kShuffle>
void shuffle(Warp& warp, const Instruction& i) {
  const auto members = get<std::uint32_t>(warp.at(i.from[3], __builtin_ctz(warp.mask)));
  if (!warp.together(members)) return;
  std::uint32_t values[kLanes];
  std::uint32_t inside = 0;
  for_each_lane(warp.mask, [&](unsigned lane) {
    const auto distance = static_cast<int>(get<std::uint32_t>(warp.at(i.from[1], lane)) & 31);
    const auto segments = get<std::uint32_t>(warp.at(i.from[2], lane));
    const auto clamp = static_cast<int>(segments & 31);
    const auto segment = static_cast<int>(segments >> 8 & 31);
    const int self = static_cast<int>(lane);
    const int most = (self & segment) | (clamp & ~segment);
    const int least = self & segment;
    const int source = kShuffle == Shuffle::kUp          ? self - distance
                       : kShuffle == Shuffle::kDown      ? self + distance
                       : kShuffle == Shuffle::kButterfly ? self ^ distance
                                                         : least | (distance & ~segment);
    const bool there = kShuffle == Shuffle::kUp ? source >= most : source <= most;
    const auto from = static_cast<unsigned>(there ? source : self);
    if ((warp.mask >> from & 1) == 0) warp.die("a shuffle from a lane that does not take part");
    values[lane] = get<std::uint32_t>(warp.at(i.from[0], from));
    inside |= there ? 1u << lane : 0u;
  });
  for_each_lane(warp.mask, [&](unsigned lane) {
    put<std::uint32_t>(warp.at(i.to[0], lane), values[lane], 4);
  });
  if (i.predicate == 0) return;
  std::uint32_t& to = warp.predicate(i.predicate);
  to = (to & ~warp.mask) | (inside & warp.mask);
}

// from: members.
void ballot(Warp& warp, const Instruction& i) {
  const auto members = get<std::uint32_t>(warp.at(i.from[0], __builtin_ctz(warp.mask)));
  if (!warp.together(members)) return;
  const std::uint32_t votes = warp.predicate(i.predicates[0]) & warp.mask;
  for_each_lane(warp.mask,
                [&](unsigned lane) { put<std::uint32_t>(warp.at(i.to[0], lane), votes, 4); });
}

void warp_barrier(Warp& warp, const Instruction& i) {
  const auto members = get<std::uint32_t>(warp.at(i.from[0], __builtin_ctz(warp.mask)));
  if (warp.together(members)) warp.pass_barrier();
}

void block_barrier(Warp& warp, const Instruction&) {
  if (warp.together(kAll)) warp.wait_at_barrier();
}

// d = a b + c of 16 x 16, 16 x 8 and 16 x 8. to: d in four registers; from: a in four, b in two, c
// in four.
//
// "Matrix fragments for mma.m16n8k16 with floating point type": with g = lane / 4, q = lane % 4,
// element e of a lane's 8 of A lies in row g (+ 8 for e of 2, 3, 6, 7) and column 2 q + e % 2 (+ 8
// from e = 4 on); element e of its 4 of B in row 2 q + e % 2 (+ 8 from 2 on) and column g; element
// e of its 4 of C and D in row g (+ 8 from 2 on) and column 2 q + e % 2.
template <float (*kWiden)(std::uint16_t)>
void multiply_matrices(Warp& warp, const Instruction& i) {
  if (!warp.together(kAll)) return;
  float a[16][16], b[16][8];
  for (unsigned lane = 0; lane < kLanes; ++lane) {
    const unsigned g = lane / 4;
    const unsigned q = lane % 4;
    for (unsigned e = 0; e < 8; ++e) {
      const auto bits = get<std::uint16_t>(warp.at(i.from[e / 2], lane) + 2 * (e % 2));
      a[g + (e % 4 >= 2 ? 8 : 0)][2 * q + e % 2 + (e >= 4 ? 8 : 0)] = kWiden(bits);
    }
    for (unsigned e = 0; e < 4; ++e) {
      const auto bits = get<std::uint16_t>(warp.at(i.from[4 + e / 2], lane) + 2 * (e % 2));
      b[2 * q + e % 2 + (e >= 2 ? 8 : 0)][g] = kWiden(bits);
    }
  }
  for (unsigned lane = 0; lane < kLanes; ++lane) {
    for (unsigned e = 0; e < 4; ++e) {
      const unsigned row = lane / 4 + (e >= 2 ? 8 : 0);
      const unsigned column = 2 * (lane % 4) + e % 2;
      float sum = 0;
      for (unsigned k = 0; k < 16; ++k) sum += a[row][k] * b[k][column];
      put<float>(warp.at(i.to[e], lane), get<float>(warp.at(i.from[6 + e], lane)) + sum, 4);
    }
  }
}

// Lane 8 m + r says where row r of matrix m begins; of each matrix lane 4 g + q gets elements 2 q
// and 2 q + 1 of row g, of the transposed matrix if kTransposed.
template <bool kTransposed>
void load_matrices(Warp& warp, const Instruction& i) {
  if (!warp.together(kAll)) return;
  std::uint16_t all[4][8][8];
  for (unsigned lane = 0; lane < kLanes; ++lane) {
    const unsigned char* const row = warp.address(i, i.from[0], lane, 16);
    warp.loads(lane, row, 16);
    std::memcpy(all[lane / 8][lane % 8], row, 16);
  }
  for (unsigned lane = 0; lane < kLanes; ++lane) {
    const unsigned g = lane / 4;
    const unsigned q = lane % 4;
    for (unsigned m = 0; m < 4; ++m) {
      const unsigned low = kTransposed ? all[m][2 * q][g] : all[m][g][2 * q];
      const unsigned high = kTransposed ? all[m][2 * q + 1][g] : all[m][g][2 * q + 1];
      put<std::uint32_t>(warp.at(i.to[m], lane), high << 16 | low, 4);
    }
  }
}

}  // namespace

Run find_exchange(const Name& name) {
  std::string all;
  for (const std::string_view part : name) all += std::string(all.empty() ? "" : ".").append(part);
  if (all == "shfl.sync.up.b32") return &shuffle<Shuffle::kUp>;
  if (all == "shfl.sync.down.b32") return &shuffle<Shuffle::kDown>;
  if (all == "shfl.sync.bfly.b32") return &shuffle<Shuffle::kButterfly>;
  if (all == "shfl.sync.idx.b32") return &shuffle<Shuffle::kIndex>;
  if (all == "vote.sync.ballot.b32") return &ballot;
  if (all == "bar.warp.sync") return &warp_barrier;
  if (all == "bar.sync") return &block_barrier;
  if (all == "ldmatrix.sync.aligned.m8n8.x4.shared.b16") return &load_matrices<false>;
  if (all == "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16") return &load_matrices<true>;
  if (all == "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32") {
    return &multiply_matrices<rt::sdk::f16_to_f32>;
  }
  if (all == "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32") {
    return &multiply_matrices<rt::sdk::bf16_to_f32>;
  }
  return nullptr;
}

}  // namespace ptx
