// From one row of logits to a token id.
//
// All arithmetic is in double and follows the sample schema step by step, so that the id is that of
// the reference. Only a sum differs: the mass that top_p is a share of, where top_k is off, is
// added by rising id instead of falling probability (a last-bit difference of a double).
#pragma once

#include <stdint.h>

namespace rt::cpu {

struct SamplingRule {
  double temperature;
  double top_p;
  double min_p;
  double repeat_penalty;
  double presence_penalty;
  double frequency_penalty;
  int64_t top_k;
  const int32_t* history;  // [history_count], ids outside [0, V) are passed over
  uint64_t history_count;
  double uniform;  // in [0, 1)
};

// Index of the largest logit, of equals the lowest; NaN and -infinity cannot be chosen: -1 if there
// is nothing else. +infinity counts as the largest f32.
using ArgmaxKernel = int64_t (*)(const float* logits, uint64_t count);
int64_t argmax_portable(const float* logits, uint64_t count);
int64_t argmax_avx2(const float* logits, uint64_t count);

// Bytes of scratch that sample_row needs for V ids.
constexpr uint64_t sample_scratch_bytes(uint64_t count) {
  return count * (8 + 4);
}

// The chosen id, or -1 if no logit can be chosen. scratch is 8-byte aligned.
int64_t sample_row(const float* logits, uint64_t count, const SamplingRule& rule,
                   ArgmaxKernel argmax, void* scratch);

}  // namespace rt::cpu
