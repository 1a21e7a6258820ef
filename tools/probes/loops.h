// The loops behind machine_probe.h, each in the widest form that this processor has.
#pragma once

#include <cstdint>

namespace rt::probe {

constexpr std::uint64_t kReadBlock = 512;  // bytes; what a read loop takes at a time

// A loop of arithmetic without memory: run(rounds) does rounds * operations of them.
struct Loop {
  void (*run)(std::uint64_t rounds);  // null: this processor has no such instruction
  double operations;
  std::uint64_t rounds;  // some 15 ms at 3 GHz
  const char* name;
};

using ReadLoop = void (*)(const char* memory, std::uint64_t bytes);

ReadLoop read_loop();
Loop f32_loop();
Loop bf16_loop();
Loop int8_loop();

}  // namespace rt::probe
