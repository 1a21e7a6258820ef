// What this machine can do at this moment: bytes read per second and operations per second, by
// loops that do nothing else. Speeds are printed as shares of it, and since a shared machine drifts
// by tens of percent, it is asked again beside every run.
//
// Nothing here is chosen when compiling: each loop is built for its own instruction set and called
// only where the processor has it.
#pragma once

#include <cstdint>
#include <memory>

namespace rt::probe {

struct Limits {
  double read_bytes = 0;  // bytes per second, plain reads of memory far larger than caches
  double f32_flops = 0;   // fused multiply-adds in f32 count 2
  double bf16_flops = 0;  // products of bf16 summed in f32; 0: no such instruction
  double int8_ops = 0;    // products of 8 bits summed in 32; 0: no such instruction
};

class MachineProbe {
 public:
  // Walks `bytes` of memory, which the first measurement takes: 1 GiB is beyond any cache of today.
  // Halved while they cannot be had; 0, or none to be had: nothing is walked, read_bytes is 0.
  explicit MachineProbe(std::uint64_t bytes) : bytes_(bytes) {}
  ~MachineProbe();
  MachineProbe(const MachineProbe&) = delete;
  MachineProbe& operator=(const MachineProbe&) = delete;

  std::uint64_t bytes() const { return bytes_; }

  // One measurement with that many threads: a pass over the memory (0.1 s at 10 GB/s), and some
  // 15 ms for each peak if `peaks`. By the wall's clock, as tokens per second are.
  Limits measure(unsigned threads, bool peaks);

 private:
  void take_memory();

  std::uint64_t bytes_;
  char* memory_ = nullptr;
};

// The names of the instructions behind the peaks, for people: "AVX-512", "AVX-512 BF16", "VNNI";
// "" where there is none. AMX is not asked: no kernel here uses it.
struct PeakNames {
  const char* f32;
  const char* bf16;
  const char* int8;
};
PeakNames peak_names();

}  // namespace rt::probe
