// How near the kernels for quantized weights come to the machine: bytes per second of decode beside
// a plain read of the same memory, operations per second of prefill beside loops of registers (FMA,
// vpdpbusd). Probe and kernel run in turns; medians and the median of their quotients are printed.
//
//   bench_quantized [rounds = 9] [only names that contain this] [only this instruction set]
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "kernels/cpu/quantized_linear.h"
#include "tools/bench_probes.h"

namespace {

using namespace bench;
using rt::cpu::Codes;
using rt::cpu::QuantizedKernels;
using rt::cpu::QuantizedMatrix;

struct Kernels {
  const char* isa;
  const QuantizedKernels* kernels;
  void (*probe)();
  double products;  // multiply-adds of one instruction of the probe
  bool runs;
};

const bool kHasAvx512 = __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                        __builtin_cpu_supports("avx512vl");
const bool kHasAvx512Bf16 = kHasAvx512 && __builtin_cpu_supports("avx512bf16");
const Kernels kKernels[] = {
    {"avx2", &rt::cpu::kQuantizedAvx2, probe_fma_avx2, 8,
     __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")},
    {"int16", &rt::cpu::kQuantizedInt16, probe_madd_avx2, 16, __builtin_cpu_supports("avx2") != 0},
    {"int16_decode", &rt::cpu::kQuantizedInt16Decode, probe_madd_avx2, 16,
     __builtin_cpu_supports("avx2") != 0},
    {"avx512", &rt::cpu::kQuantizedAvx512, probe_fma_avx512, 16, kHasAvx512},
    {"bf16", &rt::cpu::kQuantizedBf16, probe_bf16, 32, kHasAvx512Bf16},
    {"bf16_decode", &rt::cpu::kQuantizedBf16Decode, probe_bf16, 32, kHasAvx512Bf16},
    {"avx512_vnni", &rt::cpu::kQuantizedVnni, probe_vnni, 64,
     kHasAvx512&& __builtin_cpu_supports("avx512vnni")},
};

struct Type {
  const char* name;
  Codes kind;
};
constexpr Type kTypes[] = {{"int8", Codes::kInt8}, {"nf4", Codes::kNf4}, {"nf4-dq", Codes::kNf4Dq}};

struct Shape {
  const char* name;
  std::uint64_t rows;     // N
  std::uint64_t columns;  // K
};
constexpr Shape kShapes[] = {
    {"tinyllama up", 5632, 2048}, {"tinyllama down", 2048, 5632}, {"phi3 up", 8192, 3072},
    {"phi3 down", 3072, 8192},    {"gemma2 up", 9216, 2304},      {"gemma2 down", 2304, 9216},
};

constexpr std::uint64_t kMostTokens = 512;

std::uint64_t next_line(std::uint64_t offset) {
  return (offset + 63) / 64 * 64;
}

// As core/sdk/weight_format.hpp lays a weight out, which a bench of kernels does not include.
struct Layout {
  Layout(Codes kind, const Shape& shape) {
    const bool nf4 = kind != Codes::kInt8;
    matrix.kind = kind;
    matrix.columns = shape.columns;
    matrix.block = nf4 ? rt::cpu::kScaleBlock : shape.columns;
    matrix.row_scales = shape.columns / matrix.block;
    matrix.row_bytes = nf4 ? shape.columns / 2 : shape.columns;
    codes = kind == Codes::kNf4Dq ? 64 + 1024 : 0;
    scales = next_line(codes + shape.rows * matrix.row_bytes);
    scale_count = shape.rows * matrix.row_scales;
    nested = next_line(scales + scale_count * (kind == Codes::kNf4Dq ? 1 : 4));
    const std::uint64_t nested_count = kind == Codes::kNf4Dq ? scale_count / 256 + 2 : 0;
    bytes = next_line(nested + nested_count * 4);
  }
  QuantizedMatrix at(const unsigned char* base) const {
    QuantizedMatrix found = matrix;
    found.codes = base + codes;
    found.scales = base + scales;
    found.map = reinterpret_cast<const float*>(base + 64);
    found.nested = reinterpret_cast<const float*>(base + nested);
    found.offset = 0.01f;
    return found;
  }
  QuantizedMatrix matrix{};
  std::uint64_t codes, scales, scale_count, nested, bytes;
};

struct Bench {
  Bench(int rounds, const char* only, const char* isa)
      : filter(only, isa), rounds_(rounds), memory_(kBytes), x_(kMostTokens * 9216) {
    std::uint32_t state = 1;
    for (float& x : x_) {
      state = state * 1664525u + 1013904223u;
      x = static_cast<float>(state >> 8) * 0x1p-24f - 0.5f;
    }
    prepared_.resize(kMostTokens * 9216 * 4 + 65536);
    out_.resize(kMostTokens * 9216);
  }

  // Random codes; every f32 of maps and scales 0.01.
  void fill(const Layout& layout) {
    std::uint32_t state = 1;
    for (std::uint64_t i = 0; i < memory_.size(); i += 4) {
      state = state * 1664525u + 1013904223u;
      std::memcpy(&memory_[i], &state, 4);
    }
    const auto set = [&](std::uint64_t from, std::uint64_t to) {
      const float value = 0.01f;
      for (; from < to; from += 4) std::memcpy(&memory_[from], &value, 4);
    };
    for (std::uint64_t at = 0; at + layout.bytes <= kBytes; at += layout.bytes) {
      set(at, at + layout.codes);
      set(at + (layout.matrix.kind == Codes::kNf4Dq ? layout.nested : layout.scales),
          at + layout.bytes);
    }
  }

  // `copies` matrices, one after the other, and their share of preparing x.
  double product(const Kernels& kernels, const Layout& layout, const Shape& shape, unsigned threads,
                 std::uint64_t tokens, std::uint64_t copies) {
    double seconds = 0;
    for (std::uint64_t t = 0, part; t < tokens; t += part) {
      part = std::min(tokens - t, kernels.kernels->most_tokens);
      const float* x = x_.data() + t * shape.columns;
      const void* from = x;
      if (kernels.kernels->prepared_bytes(layout.matrix, part) > 0) {
        from = prepared_.data();
        seconds += split(threads, part, [&](std::uint64_t begin, std::uint64_t end) {
          kernels.kernels->prepare(layout.matrix, x, part, begin, end, prepared_.data());
        });
      }
      seconds += split(threads, shape.rows / 64, [&](std::uint64_t begin, std::uint64_t end) {
        for (std::uint64_t i = 0; i < copies; ++i) {
          kernels.kernels->multiply(layout.at(memory_.data() + i * layout.bytes), from, part,
                                    begin * 64, end * 64, out_.data() + t * shape.rows + begin * 64,
                                    shape.rows);
        }
      });
    }
    return seconds;
  }

  bool has(const Kernels& kernels, const Type& type, const Shape& shape) {
    const std::string name = std::string(shape.name) + " " + type.name;
    const bool served = kernels.products != 32 || type.kind != Codes::kInt8;  // bf16: nf4 alone
    return kernels.runs && served && filter.takes(name, kernels.isa);
  }

  void decode(const Kernels& kernels, const Type& type, const Shape& shape, unsigned threads,
              std::uint64_t tokens) {
    const Layout layout(type.kind, shape);
    const std::uint64_t copies = kBytes / layout.bytes / 2;
    const double bytes = static_cast<double>(copies * layout.bytes);
    std::vector<double> kernel, probe, quotient;
    for (int i = 0; i < rounds_; ++i) {
      const double read =
          read_seconds(threads, reinterpret_cast<const char*>(memory_.data()), kBytes / 2);
      probe.push_back(static_cast<double>(kBytes / 2) / read / 1e9);
      kernel.push_back(bytes / product(kernels, layout, shape, threads, tokens, copies) / 1e9);
      quotient.push_back(kernel.back() / probe.back());
    }
    std::printf("%-15s %-6s %-11s T=%-3llu threads %u: %6.1f GB/s, read %6.1f GB/s, %4.0f %%\n",
                shape.name, type.name, kernels.isa, static_cast<unsigned long long>(tokens),
                threads, median(kernel), median(probe), 100 * median(quotient));
  }

  void prefill(const Kernels& kernels, const Type& type, const Shape& shape, unsigned threads,
               std::uint64_t tokens) {
    const Layout layout(type.kind, shape);
    const double operations = 2.0 * static_cast<double>(shape.rows * shape.columns * tokens);
    std::vector<double> kernel, probe, quotient;
    for (int i = 0; i < rounds_; ++i) {
      const double peak =
          split(threads, threads, [&](std::uint64_t, std::uint64_t) { kernels.probe(); });
      probe.push_back(2 * kProbeRounds * kProbeSums * kernels.products * threads / peak / 1e9);
      kernel.push_back(operations / product(kernels, layout, shape, threads, tokens, 1) / 1e9);
      quotient.push_back(kernel.back() / probe.back());
    }
    std::printf("%-15s %-6s %-11s T=%-3llu threads %u: %6.1f Gop/s, peak %6.1f Gop/s, %4.0f %%\n",
                shape.name, type.name, kernels.isa, static_cast<unsigned long long>(tokens),
                threads, median(kernel), median(probe), 100 * median(quotient));
  }

  bench::Filter filter;

 private:
  int rounds_;
  std::vector<unsigned char, Aligned<unsigned char>> memory_;
  std::vector<float, Aligned<float>> x_;
  std::vector<unsigned char, Aligned<unsigned char>> prepared_;
  std::vector<float, Aligned<float>> out_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc > 4 || (argc > 1 && std::atoi(argv[1]) < 1)) {
    std::fputs("bench_quantized [REPETITIONS [WORDS [INSTRUCTION_SET]]]\n", stderr);
    return 2;
  }
  if (!__builtin_cpu_supports("avx2")) {
    std::puts("bench_quantized: needs a processor with AVX2");
    return 1;
  }
  Bench bench(argc > 1 ? std::atoi(argv[1]) : 9, argc > 2 ? argv[2] : "", argc > 3 ? argv[3] : "");
  for (const Type& type : kTypes) {
    for (const Shape& shape : kShapes) {
      bool filled = false;
      for (const Kernels& kernels : kKernels) {
        if (!bench.has(kernels, type, shape)) continue;
        if (!filled) bench.fill(Layout(type.kind, shape));
        filled = true;
        if (kernels.products != 64 || type.kind != Codes::kInt8) {  // vnni decodes int8 nowhere
          for (const unsigned threads : {1u, 2u}) bench.decode(kernels, type, shape, threads, 1);
          if (&shape == &kShapes[0]) {
            for (const std::uint64_t T : {2, 4, 8}) bench.decode(kernels, type, shape, 2, T);
          }
        }
        bench.prefill(kernels, type, shape, 1, 512);
        bench.prefill(kernels, type, shape, 2, 512);
      }
    }
  }
  return bench.filter.finish("bench_quantized");
}
