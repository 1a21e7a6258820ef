// The private parts of a Session, for its own files.
#pragma once

#include <vector>

#include "core/engine/session.h"

namespace rt {

// A node with its two instances. Inputs and outputs point into the session's tensors.
struct Session::Node {
  const Implementation* decode = nullptr;  // null: it does not run in such steps
  const Implementation* prefill = nullptr;
  void* decode_self = nullptr;
  void* prefill_self = nullptr;
  std::vector<const rt_tensor*> inputs;
  std::vector<const rt_tensor*> outputs;
  bool per_row = false;  // its outputs are [R, ...]: nothing to do when R is 0
  bool uses_kv = false;
  rt_kv_layout layout{};
};

// One sequence's part of a step.
struct Session::Chunk {
  Sequence* sequence;
  std::uint64_t first;  // position of its first token
  std::uint32_t tokens;
  std::uint32_t rows;
  Sampling sampling = {};  // of a step begun ahead: as it was when it was begun
};

// Steps of up to this many tokens run the decode implementations (matrix-vector products); beyond
// it the weights are read once for many rows and the prefill ones win.
inline constexpr std::uint32_t kDecodeTokens = 8;

struct Session::StepSize {
  std::uint32_t tokens = 0;
  std::uint32_t rows = 0;
  bool decode() const { return tokens <= kDecodeTokens; }
};

}  // namespace rt
