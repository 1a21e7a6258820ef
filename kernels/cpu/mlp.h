// The gated feed-forward block up to its last product: hidden = act(gate x) * (up x), f32[T, F].
#pragma once

#include <stdint.h>

#include "kernels/cpu/linear.h"

namespace rt::cpu {

enum class Activation : uint32_t { kSilu, kGeluTanh };

// Computes columns [begin, end); `hidden` is where column `begin` of row 0 goes, and rows are
// `stride` apart. The two products sum as linear.h says.
using GateUpKernel = void (*)(const float* x, uint64_t tokens, const Matrix& gate, const Matrix& up,
                              Activation activation, uint64_t begin, uint64_t end, float* hidden,
                              uint64_t stride);

void gate_up_portable(const float* x, uint64_t tokens, const Matrix& gate, const Matrix& up,
                      Activation activation, uint64_t begin, uint64_t end, float* hidden,
                      uint64_t stride);
void gate_up_avx2(const float* x, uint64_t tokens, const Matrix& gate, const Matrix& up,
                  Activation activation, uint64_t begin, uint64_t end, float* hidden,
                  uint64_t stride);

void gate_up_avx512(const float* x, uint64_t tokens, const Matrix& gate, const Matrix& up,
                    Activation activation, uint64_t begin, uint64_t end, float* hidden,
                    uint64_t stride);

// Tokens as the product packs them, at most kMostPacked.
using PackedGateUpKernel = void (*)(const void* packed, uint64_t tokens, const Matrix& gate,
                                    const Matrix& up, Activation activation, uint64_t begin,
                                    uint64_t end, float* hidden, uint64_t stride);

void gate_up_packed_int16(const void* packed, uint64_t tokens, const Matrix& gate, const Matrix& up,
                          Activation activation, uint64_t begin, uint64_t end, float* hidden,
                          uint64_t stride);
void gate_up_packed_bf16(const void* packed, uint64_t tokens, const Matrix& gate, const Matrix& up,
                         Activation activation, uint64_t begin, uint64_t end, float* hidden,
                         uint64_t stride);

// For products that are made one after the other: gate = act(gate) * up, f32[tokens, columns] each,
// whose rows are `up_stride` and `stride` apart.
using JoinKernel = void (*)(Activation activation, uint64_t tokens, uint64_t columns,
                            const float* up, uint64_t up_stride, float* gate, uint64_t stride);

void join_portable(Activation activation, uint64_t tokens, uint64_t columns, const float* up,
                   uint64_t up_stride, float* gate, uint64_t stride);
void join_avx2(Activation activation, uint64_t tokens, uint64_t columns, const float* up,
               uint64_t up_stride, float* gate, uint64_t stride);

}  // namespace rt::cpu
