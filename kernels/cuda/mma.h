// Tensor cores, by the warp: c += a b for a 16 x 16 tile of 16-bit a, a 16 x 8 tile of b and f32 c.
//
// Lane 4 g + q holds
//   a[0], a[1]   rows g and g + 8, columns 2 q and 2 q + 1;  a[2], a[3]: columns 8 more
//   b[0], b[1]   column g, rows 2 q and 2 q + 1; 8 more
//   c[0], c[1]   row g, columns 2 q and 2 q + 1;  c[2], c[3]: row g + 8
// load_matrices brings four tiles of 8 x 8 from rows with K adjacent, load_transposed from rows
// with N adjacent: lane 8 i + r says where row r of tile i begins, and register i is of tile i.
#pragma once

#include <type_traits>

#include "kernels/cuda/number.h"

namespace rt::cuda {

#ifdef RT_MMA  // tests/cuda_emulation computes it from the same tables
template <class T>
void mma(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  RT_MMA(T, c, a, b);
}
template <class T>
void load_matrices(const T* row, uint32_t (&tiles)[4]) {
  RT_LOAD_MATRICES(row, tiles, false);
}
template <class T>
void load_transposed(const T* row, uint32_t (&tiles)[4]) {
  RT_LOAD_MATRICES(row, tiles, true);
}
inline void copy16_async(void* shared, const void* global, bool present) {
  RT_ASYNC_COPIES().add(shared, global, present);
}
inline void copies_begin_group() {
  RT_ASYNC_COPIES().begin_group();
}
template <int kPending>
inline void copies_wait() {
  RT_ASYNC_COPIES().wait(kPending);
}
#else
template <class T>
__device__ inline void mma(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  if constexpr (std::is_same_v<T, Bf16>) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};\n"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};\n"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  }
}
// From shared memory; 16-byte aligned rows.
template <class T>
__device__ inline void load_matrices(const T* row, uint32_t (&tiles)[4]) {
  const auto at = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(tiles[0]), "=r"(tiles[1]), "=r"(tiles[2]), "=r"(tiles[3])
               : "r"(at)
               : "memory");
}
template <class T>
__device__ inline void load_transposed(const T* row, uint32_t (&tiles)[4]) {
  const auto at = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(tiles[0]), "=r"(tiles[1]), "=r"(tiles[2]), "=r"(tiles[3])
               : "r"(at)
               : "memory");
}
// 16 bytes from global to shared memory behind the thread's back; zeros where not present.
__device__ inline void copy16_async(void* shared, const void* global, bool present) {
  const auto at = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(at), "l"(global),
               "r"(present ? 16 : 0));
}
__device__ inline void copies_begin_group() {
  asm volatile("cp.async.commit_group;\n");
}
// Until at most kPending groups of this thread are on their way.
template <int kPending>
__device__ inline void copies_wait() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(kPending));
}
#endif

}  // namespace rt::cuda
