// A request as the KV cache sees it, for asking what a set of them takes before one of them runs.
#pragma once

#include <cstdint>

namespace rt {

struct KvRequest {
  std::uint64_t prompt_tokens = 0;
  std::uint64_t tokens = 0;  // prompt and new ones; the last new one never enters the cache
  bool declared = true;      // `tokens` is the sequence's budget; false: open
  bool operator==(const KvRequest&) const = default;
};

// Whether a request begins as a fork of the sequence that holds the shared prefix: it has a token
// left to compute, and LongRoPE's factors (which change at rope_switch_tokens; 0: nowhere) are
// those that the prefix was computed with.
inline bool forks_prefix(std::uint64_t prompt_tokens, std::uint64_t shared_tokens,
                         std::uint64_t rope_switch_tokens) {
  return shared_tokens > 0 && prompt_tokens > shared_tokens &&
         (rope_switch_tokens == 0 || prompt_tokens <= rope_switch_tokens);
}

}  // namespace rt
