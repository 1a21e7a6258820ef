// Memory of the CPU device: plain allocations, and reserved address space that is committed and
// decommitted without moving. Functions return 0 or an errno.
//
// Everything is resident from the start (MADV_POPULATE_WRITE): a byte that the ledger counts is a
// byte that the kernel has given, what cannot be had is refused here and not killed in a step, and
// no step pays for page faults.
//
// Huge pages: what has kHugeBytes and more is aligned to it and asks for them (streaming 4 KiB
// pages costs 10-30 % of read bandwidth), reserved space too: a KV cache of 480 MiB in 24 MiB
// commits was read 18 % faster, and a commit of 24 MiB took 2.8 ms instead of 6.8. What stands
// stays exact: the kernel gives a huge page only where all of it lies in memory that may be
// written, which is what has been committed. After a decommit of part of one the rest of it may
// stay with the kernel's queue of pages to be split, less than kHugeBytes for each end of a range,
// until memory is short.
#pragma once

#include <cstdint>

namespace rt::cpu {

// Of commits. A multiple of every page size in use (4 to 64 KiB); one costs about 19 us, mostly
// zeroing, so smaller granules would save bytes nobody notices for calls that add up.
constexpr std::uint64_t kGranuleBytes = 64 << 10;
constexpr std::uint64_t kAlignmentBytes = 64;  // a cache line, a zmm register
constexpr std::uint64_t kHugeBytes = 2 << 20;

// Below kGranuleBytes from the heap, else whole pages of its own. Aligned to kAlignmentBytes.
int allocate(std::uint64_t bytes, void** address);
void release(void* address, std::uint64_t bytes);

// Address space only: nothing is resident, nothing counts against a commit limit.
int reserve(std::uint64_t bytes, void** base);
void unreserve(void* base, std::uint64_t bytes);
// On failure nothing of the range is committed.
int commit(void* address, std::uint64_t bytes);
int decommit(void* address, std::uint64_t bytes);

// Bytes of [address, address + bytes) that lie in resident pages.
int resident(const void* address, std::uint64_t bytes, std::uint64_t* resident_bytes);

}  // namespace rt::cpu
