// How near the CPU kernels come to the machine: bytes per second of decode beside a plain read of
// the same memory, operations per second of prefill beside a loop of multiply-adds in registers.
// Probe and kernel run in turns, so that a busy machine slows both; medians and the median of their
// quotients are printed. Time is the processor time of the slowest thread: what others take of the
// cores is not counted, what they take of the caches and the memory is.
//
//   bench_kernels [rounds = 9] [only names that contain this] [only this instruction set]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "kernels/cpu/attention.h"
#include "kernels/cpu/linear.h"
#include "kernels/cpu/mlp.h"
#include "tools/bench_probes.h"

namespace {

using rt::cpu::Element;
using rt::cpu::KvElement;
using rt::cpu::Matrix;

using bench::Aligned;
using bench::kBytes;
using bench::kProbeRounds;
using bench::kProbeSums;
using bench::median;
using bench::read_seconds;
using bench::sink;
using bench::split;

// A set of kernels, and the loop of registers that it is measured by.
struct Kernels {
  const char* isa;
  rt::cpu::LinearKernel linear;
  rt::cpu::GateUpKernel gate_up;
  void (*probe)();
  double products;  // multiply-adds of one instruction
  bool runs;
};

// Each thread packs all tokens for itself, where a plugin's threads share that: with many threads
// prefill is a little slower here. At most 512 tokens, and K <= 16384.
template <class Multiply>
void in_parts(const float* x, std::uint64_t tokens, std::uint64_t columns,
              const Multiply& multiply) {
  using rt::cpu::kMostPacked;
  static thread_local std::vector<char, Aligned<char>> packed;
  packed.resize(rt::cpu::packed_bf16_bytes(kMostPacked, columns));
  for (std::uint64_t t = 0, part; t < tokens; t += part) {
    part = std::min(tokens - t, kMostPacked);
    rt::cpu::pack_bf16(x + t * columns, part, columns, 0, part, packed.data());
    multiply(packed.data(), t, part);
  }
}
void linear_bf16(const float* x, std::uint64_t tokens, const Matrix& weight, std::uint64_t begin,
                 std::uint64_t end, float* out, std::uint64_t stride) {
  in_parts(x, tokens, weight.columns, [&](const void* packed, std::uint64_t t, std::uint64_t part) {
    rt::cpu::linear_packed_bf16(packed, part, weight, begin, end, out + t * stride, stride);
  });
}
void gate_up_bf16(const float* x, std::uint64_t tokens, const Matrix& gate, const Matrix& up,
                  rt::cpu::Activation activation, std::uint64_t begin, std::uint64_t end,
                  float* hidden, std::uint64_t stride) {
  in_parts(x, tokens, gate.columns, [&](const void* packed, std::uint64_t t, std::uint64_t part) {
    rt::cpu::gate_up_packed_bf16(packed, part, gate, up, activation, begin, end,
                                 hidden + t * stride, stride);
  });
}

const Kernels kKernels[] = {
    {"avx2", rt::cpu::linear_avx2, rt::cpu::gate_up_avx2, bench::probe_fma_avx2, 8,
     __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")},
    {"avx512", rt::cpu::linear_avx512, rt::cpu::gate_up_avx512, bench::probe_fma_avx512, 16,
     __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl")},
    {"avx512_bf16", linear_bf16, gate_up_bf16, bench::probe_bf16, 32,
     __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vl")},
};

struct Shape {
  const char* name;
  std::uint64_t rows;     // N
  std::uint64_t columns;  // K
};

constexpr Shape kShapes[] = {
    {"tinyllama q", 2048, 2048},     {"tinyllama up", 5632, 2048}, {"tinyllama down", 2048, 5632},
    {"tinyllama head", 32000, 2048}, {"phi3 qkv", 9216, 3072},     {"phi3 up", 8192, 3072},
    {"phi3 down", 3072, 8192},       {"gemma2 up", 9216, 2304},    {"gemma2 down", 2304, 9216},
};

struct Heads {
  const char* name;
  std::uint32_t heads;     // H
  std::uint32_t kv_heads;  // G
  std::uint32_t width;     // E
};

constexpr Heads kHeads[] = {
    {"tinyllama attn", 32, 4, 64}, {"phi3 attn", 32, 32, 96}, {"gemma2 attn", 16, 8, 256}};

// The rows of a KV cache (core/sdk/kv_row.hpp, which a bench of kernels alone does not include).
struct Rows {
  rt::cpu::KvRowShape shape;
  std::uint64_t bytes;
};

Rows rows_of(const Heads& model, KvElement element) {
  const bool nibbles = element == KvElement::kQ4_0;
  const bool by_head = element == KvElement::kInt8;
  Rows rows = {{element, model.kv_heads, model.width, 0, model.width, 0}, 0};
  if (rt::cpu::is_dense(element)) {
    rows.shape.head_bytes = model.width * (element == KvElement::kF32 ? 4 : 2);
    rows.bytes = model.kv_heads * rows.shape.head_bytes;
    return rows;
  }
  rows.shape.head_bytes = nibbles ? model.width / 2 : model.width;
  rows.shape.head_scales = by_head ? 1 : model.width / rt::cpu::kKvBlock;
  rows.shape.scales_offset = model.kv_heads * rows.shape.head_bytes;
  const std::uint64_t scales = model.kv_heads * rows.shape.head_scales * (by_head ? 4 : 2);
  rows.bytes = (rows.shape.scales_offset + scales + 63) / 64 * 64;
  return rows;
}

struct Bench {
  Bench(int rounds, const char* only, const char* isa)
      : filter(only, isa), rounds_(rounds), weights_(kBytes / 2), x_(512 * 16384) {
    std::uint32_t state = 1;
    for (std::uint16_t& w : weights_) {
      state = state * 1664525u + 1013904223u;
      w = static_cast<std::uint16_t>(0x3c00u + (state >> 22) + (state >> 16 & 0x8000u));  // ~ 0.01
    }
    for (float& x : x_) {
      state = state * 1664525u + 1013904223u;
      x = static_cast<float>(state >> 8) * 0x1p-24f - 0.5f;
    }
    out_.resize(512 * 32768);
  }

  // All copies of the matrix that fit in kBytes, one after the other, for `tokens` rows of x.
  double product(const Kernels& kernels, const Shape& shape, unsigned threads, std::uint64_t tokens,
                 std::uint64_t copies) {
    return split(threads, shape.rows / 16, [&](std::uint64_t begin, std::uint64_t end) {
      for (std::uint64_t i = 0; i < copies; ++i) {
        const Matrix weight = {weights_.data() + i * shape.rows * shape.columns, Element::kBf16,
                               shape.columns};
        kernels.linear(x_.data(), tokens, weight, begin * 16, end * 16, out_.data() + begin * 16,
                       shape.rows);
      }
    });
  }

  // The kernels that this machine runs and the user asks for.
  bool has(const Kernels& kernels, const Shape& shape) {
    return kernels.runs && filter.takes(shape.name, kernels.isa);
  }

  void decode(const Kernels& kernels, const Shape& shape, unsigned threads, std::uint64_t tokens) {
    if (!has(kernels, shape)) return;
    const std::uint64_t copies = kBytes / 2 / (shape.rows * shape.columns);
    const double bytes = static_cast<double>(copies * shape.rows * shape.columns * 2);
    std::vector<double> kernel, probe, quotient;
    for (int i = 0; i < rounds_; ++i) {
      const double read =
          read_seconds(threads, reinterpret_cast<const char*>(weights_.data()), kBytes);
      probe.push_back(static_cast<double>(kBytes) / read / 1e9);
      kernel.push_back(bytes / product(kernels, shape, threads, tokens, copies) / 1e9);
      quotient.push_back(kernel.back() / probe.back());
    }
    std::printf("%-16s %-11s T=%-3llu threads %u: %6.1f GB/s, read %6.1f GB/s, %4.0f %%\n",
                shape.name, kernels.isa, static_cast<unsigned long long>(tokens), threads,
                median(kernel), median(probe), 100 * median(quotient));
  }

  void prefill(const Kernels& kernels, const Shape& shape, unsigned threads, std::uint64_t tokens) {
    if (!has(kernels, shape)) return;
    const double operations = 2.0 * static_cast<double>(shape.rows * shape.columns * tokens);
    std::vector<double> kernel, probe, quotient;
    for (int i = 0; i < rounds_; ++i) {
      const double peak =
          split(threads, threads, [&](std::uint64_t, std::uint64_t) { kernels.probe(); });
      probe.push_back(2 * kProbeRounds * kProbeSums * kernels.products * threads / peak / 1e9);
      kernel.push_back(operations / product(kernels, shape, threads, tokens, 1) / 1e9);
      quotient.push_back(kernel.back() / probe.back());
    }
    std::printf("%-16s %-11s T=%-3llu threads %u: %6.1f Gflop/s, peak %6.1f Gflop/s, %4.0f %%\n",
                shape.name, kernels.isa, static_cast<unsigned long long>(tokens), threads,
                median(kernel), median(probe), 100 * median(quotient));
  }

  // One block of queries against `keys` keys in a plain cache at p.
  void attend(const Heads& model, KvElement element, const unsigned char* p, std::uint32_t keys,
              bool decode, rt::cpu::AttendTile* attend_tile) {
    const Rows kv = rows_of(model, element);
    const rt::cpu::AttentionShape shape = {model.heads, model.kv_heads, model.width, 0.1f,
                                           0,           kv.shape};
    const std::uint64_t row_bytes = kv.bytes;
    const std::uint32_t group = model.heads / model.kv_heads;
    const std::uint32_t rows = decode ? model.heads : 64;
    std::vector<float> floats(rows * (2 * model.width + 64) + 64 * model.width + 64);
    std::vector<rt::cpu::SoftmaxState> states(rows);
    float* q = floats.data();
    rt::cpu::QueryBlock block;
    block.tokens = decode ? 1 : 64 / group;
    block.kv_begin = 0;
    block.kv_end = decode ? model.kv_heads : 1;
    block.sub_keys = decode ? 8 : 64;
    block.q = q;
    block.sum_v = q + rows * model.width;
    block.scores = block.sum_v + rows * model.width;
    block.panel = block.scores + rows * 64;
    block.states = states.data();
    const std::vector<std::uint32_t> begins(64, 0);
    const std::vector<std::uint32_t> ends(64, 64);
    rt::cpu::load_queries_avx2(shape, block, x_.data());
    rt::cpu::reset_avx2(shape, block);
    const auto tile_at = [&](std::uint64_t t) {
      rt::cpu::KeyTile tile;
      tile.first = 0;
      tile.last = 64;
      for (std::uint64_t i = 0; i < 64; ++i) {
        tile.k[i] = p + (t + i) * row_bytes;
        tile.v[i] = p + (keys + t + i) * row_bytes;
      }
      return tile;
    };
    rt::cpu::KeyTile tile = tile_at(0);
    for (std::uint64_t t = 64; t <= keys; t += 64) {
      rt::cpu::KeyTile next;
      if (t < keys) next = tile_at(t);
      attend_tile(shape, tile, t < keys ? &next : nullptr, begins.data(), ends.data(), block);
      tile = next;
    }
    sink = block.sum_v[0];
  }

  void attention(const Heads& model, KvElement element, const char* type) {
    attention(model, element, std::string(type) + " avx2", rt::cpu::attend_avx2);
    if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq")) {
      attention(model, element, std::string(type) + " avx512", rt::cpu::attend_avx512);
    }
    if (__builtin_cpu_supports("avx512bf16") && element == KvElement::kBf16) {
      attention(model, element, std::string(type) + " avx512_bf16", rt::cpu::attend_bf16);
    }
  }

  void attention(const Heads& model, KvElement element, const std::string& what,
                 rt::cpu::AttendTile* attend_tile) {
    const std::string name = std::string(model.name) + " " + what;
    if (!filter.takes(name)) return;
    const std::uint64_t row = rows_of(model, element).bytes;
    constexpr std::uint64_t kDecodeBytes = std::uint64_t{64} << 20;
    constexpr std::uint32_t kKeys = 2048;
    const auto* cache = reinterpret_cast<const unsigned char*>(weights_.data());
    const std::uint64_t layer = 2 * kKeys * row;
    std::vector<double> kernel, read, share, prefill, peak;
    for (int i = 0; i < rounds_; ++i) {
      const unsigned char* p = cache + static_cast<std::uint64_t>(i % 8) * kDecodeBytes;
      double time = read_seconds(1, reinterpret_cast<const char*>(p) + kBytes / 2, kDecodeBytes);
      read.push_back(static_cast<double>(kDecodeBytes) / time / 1e9);
      const std::uint64_t layers = kDecodeBytes / layer;
      time = split(1, 1, [&](std::uint64_t, std::uint64_t) {
        for (std::uint64_t l = 0; l < layers; ++l)
          attend(model, element, p + l * layer, kKeys, true, attend_tile);
      });
      kernel.push_back(static_cast<double>(layers * layer) / time / 1e9);
      share.push_back(kernel.back() / read.back());
      time = split(1, 1, [](std::uint64_t, std::uint64_t) { bench::probe_fma_avx2(); });
      const double flops = 2.0 * kProbeRounds * kProbeSums * 8 / time;
      time = split(1, 1, [&](std::uint64_t, std::uint64_t) {
        for (int j = 0; j < 8; ++j) attend(model, element, p, kKeys, false, attend_tile);
      });
      prefill.push_back(8.0 * 4 * 64 * kKeys * model.width / time / 1e9);
      peak.push_back(prefill.back() * 1e9 / flops);
    }
    std::printf(
        "%-27s decode at %u threads 1: %6.1f GB/s, read %6.1f GB/s, %4.0f %%, %6.1f Mkey/s\n",
        name.c_str(), kKeys, median(kernel), median(read), 100 * median(share),
        1e3 * median(kernel) / static_cast<double>(2 * row));
    std::printf("%-27s prefill     threads 1: %6.1f Gflop/s, %4.0f %% of FMA\n", name.c_str(),
                median(prefill), 100 * median(peak));
  }

  bench::Filter filter;

 private:
  int rounds_;
  std::vector<std::uint16_t, Aligned<std::uint16_t>> weights_;
  std::vector<float, Aligned<float>> x_;
  std::vector<float, Aligned<float>> out_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc > 4 || (argc > 1 && std::atoi(argv[1]) < 1)) {
    std::fputs("bench_kernels [REPETITIONS [WORDS [INSTRUCTION_SET]]]\n", stderr);
    return 2;
  }
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
    std::puts("bench_kernels: needs a processor with AVX2 and FMA");
    return 1;
  }
  Bench bench(argc > 1 ? std::atoi(argv[1]) : 9, argc > 2 ? argv[2] : "", argc > 3 ? argv[3] : "");
  for (const unsigned threads : {1u, 2u}) {
    for (const Shape& shape : kShapes) {
      for (const Kernels& kernels : kKernels) bench.decode(kernels, shape, threads, 1);
    }
  }
  for (const std::uint64_t tokens : {2, 3, 4, 8, 16}) {
    for (const Kernels& kernels : kKernels) bench.decode(kernels, kShapes[1], 1, tokens);
  }
  for (const Heads& model : kHeads) {
    bench.attention(model, KvElement::kF32, "f32");
    bench.attention(model, KvElement::kBf16, "bf16");
    bench.attention(model, KvElement::kF16, "f16");
    bench.attention(model, KvElement::kInt8, "int8");
    bench.attention(model, KvElement::kQ8_0, "q8_0");
    bench.attention(model, KvElement::kQ4_0, "q4_0");
  }
  for (const unsigned threads : {1u, 2u}) {
    for (const std::uint64_t tokens : {16, 64, 512}) {
      for (const Shape& shape : kShapes) {
        for (const Kernels& kernels : kKernels) bench.prefill(kernels, shape, threads, tokens);
      }
    }
  }
  return bench.filter.finish("bench_kernels");
}
