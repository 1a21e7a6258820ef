// The arrays of the step that a problem describes.
#pragma once

#include <cstdint>
#include <vector>

#include "core/sdk/step.h"
#include "tools/conformance/kv_memory.h"
#include "tools/conformance/problem.h"

namespace rt::conformance {

// In host memory, pointed to by `step`; the problem and the cache must outlive it.
struct StepArrays {
  std::vector<std::int32_t> token_ids, positions, token_sequence, token_offsets{0}, lengths,
      row_tokens, regimes;
  rt_step step{};

  StepArrays(const Problem& problem, const KvMemory* kv) {
    for (const Sequence& sequence : problem.sequences) {
      const auto b = static_cast<std::int32_t>(lengths.size());
      const auto first = static_cast<std::int32_t>(positions.size());
      for (std::int32_t i = 0; i < sequence.tokens; ++i) {
        positions.push_back(sequence.past + i);
        token_sequence.push_back(b);
      }
      for (const std::int32_t row : sequence.rows) row_tokens.push_back(first + row);
      if (sequence.rows.empty()) row_tokens.push_back(first + sequence.tokens - 1);
      token_offsets.push_back(first + sequence.tokens);
      lengths.push_back(sequence.past + sequence.tokens);
      regimes.push_back(sequence.regime);
    }
    token_ids = problem.token_ids;
    token_ids.resize(positions.size());
    step = {.struct_size = sizeof(rt_step),
            .tokens = static_cast<std::uint32_t>(positions.size()),
            .sequences = static_cast<std::uint32_t>(lengths.size()),
            .rows = static_cast<std::uint32_t>(row_tokens.size()),
            .kv_classes = kv != nullptr ? 2u : 0u,
            .reserved = 0,
            .token_ids = token_ids.data(),
            .positions = positions.data(),
            .token_sequence = token_sequence.data(),
            .token_offsets = token_offsets.data(),
            .lengths = lengths.data(),
            .row_tokens = row_tokens.data(),
            .rope_regimes = regimes.data(),
            .kv_bases = kv != nullptr ? kv->bases().data() : nullptr,
            .kv_tables = kv != nullptr ? kv->tables().data() : nullptr,
            .sampling = problem.sampling.data(),
            .history = problem.history.data()};
  }
};

}  // namespace rt::conformance
