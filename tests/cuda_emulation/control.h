// How tests turn the emulated driver's knobs. The functions are in the library cuda_emulation,
// which the emulated plugins and the tests that include this share.
#pragma once

#include <cstdint>

extern "C" {

// As after loading: one healthy device of 4 GiB, an up-to-date driver, counters at 0. Only while no
// session is open. The caller's thread is the session's from now on.
void cuda_emulation_reset();

// Allocation n from now on (from 1; 0: none) on the session's thread finds no memory; allocations
// of that thread since the last reset.
void cuda_emulation_fail_allocation(std::uint64_t n);
std::uint64_t cuda_emulation_allocations();

// cuMemCreate on the session's thread (allocations too) and on threads beside it, since the last
// reset; and whether the latter find no memory from now on.
std::uint64_t cuda_emulation_creations();
std::uint64_t cuda_emulation_creations_beside();
void cuda_emulation_fail_creations_beside(bool fail);

// Kernel n from now on (from 1; 0: none) touches an illegal address when its turn comes, after
// which every call fails, as on a GPU.
void cuda_emulation_fail_kernel(std::uint64_t n);
std::uint64_t cuda_emulation_kernels();

// Launch n from now on (from 1; 0: none) finds no memory for its kernel's code, and the GPU lives;
// launches since the last reset. A recording that is replayed launches nothing.
void cuda_emulation_refuse_launch(std::uint64_t n);
std::uint64_t cuda_emulation_launches();

// How often the host has waited for work behind which there was no other: the GPU has nothing to do
// until the host, awake again, gives it some. Since the last reset.
std::uint64_t cuda_emulation_idle_waits();

// 0: no driver is installed.
void cuda_emulation_set_driver(int version);
void cuda_emulation_set_devices(int count);
void cuda_emulation_set_capability(int major, int minor);
void cuda_emulation_set_memory(std::uint64_t total_bytes);
void cuda_emulation_set_virtual_memory(bool has);

// Device memory that stands now.
std::uint64_t cuda_emulation_used_bytes();
}
