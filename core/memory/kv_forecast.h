// What a plan costs in a conversation, without a device: the KV store itself is run on a device
// that hands out addresses and no memory, so a forecast and a run are one computation and agree to
// the byte.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/base/result.h"
#include "core/memory/kv_plan.h"
#include "core/memory/kv_request.h"

namespace rt {

// One prompt and its answer.
struct KvTurn {
  std::uint64_t prompt_tokens = 0;
  std::uint64_t new_tokens = 0;     // all of them drawn; the last is not yet in the cache
  bool declared = true;             // new_tokens was declared as the budget; false: open
  std::uint64_t keep = UINT64_MAX;  // tokens of earlier turns kept (a rewind); all by default
  std::uint64_t unused_tokens = 0;  // declared beyond new_tokens: the answer ended before
  // Of a prompt that was stopped before its answer began (new_tokens is 0): tokens in the cache by
  // then. Absent: nothing was asked, only kept.
  std::optional<std::uint64_t> stopped_at{};
};

// The highest and the present number of bytes at some length of the conversation.
struct KvPoint {
  std::uint64_t computed_tokens = 0;  // since the beginning, rewinds not taken back
  std::uint64_t length = 0;           // tokens in the cache
  std::uint64_t standing_bytes = 0;
  std::uint64_t peak_bytes = 0;  // so far
};

struct KvForecast {
  std::uint64_t reserved_bytes = 0;  // address space, not memory
  std::uint64_t standing_bytes = 0;  // after the last turn
  std::uint64_t peak_bytes = 0;
  std::uint64_t ready_bytes = 0;   // the most that was ready for the next commits; in both of these
  bool wanted_more_ready = false;  // the limit left less than the plan wants
  std::uint64_t copied_bytes = 0;
  std::uint64_t address_changes = 0;
  std::uint64_t commits = 0;
  std::uint64_t decommits = 0;
  std::uint64_t reprefill_tokens = 0;
  std::vector<KvPoint> turns;  // after each turn
  std::vector<KvPoint> curve;  // wherever the standing bytes change, from the first token on
};

// `turns` in one sequence, prefilled in steps of U, with the calls that a chat makes. Bad input: a
// conversation that passes the context. rope_switch_tokens: where LongRoPE changes its factors and
// everything is computed again; 0: nowhere.
Result<KvForecast> forecast(const KvPlan& plan, std::span<const KvTurn> turns,
                            std::uint64_t rope_switch_tokens = 0);

// `requests`, at most B (B - 1 with a prefix), all in the cache in the end: the most that any order
// of starts and ends among them takes if one computes at a time. Each runs to its last token while
// those before it stand, the longest last; what a growth takes for a moment (a moved layer), of the
// request that takes the most, adds to all that stands in the end, for any of them may come last.
// shared_tokens: a prefix that a sequence of its own holds all the while
// and whose forks they are; 0: none. Bad input: more than the context.
Result<KvForecast> forecast_together(const KvPlan& plan, std::span<const KvRequest> requests,
                                     std::uint64_t shared_tokens = 0,
                                     std::uint64_t rope_switch_tokens = 0);

// Highest bytes of the KV cache on the way to `tokens` cached ones: prompt_tokens of them in steps
// of U, the rest one by one. budget: what the sequence declares, 0: nothing.
Result<std::uint64_t> peak_bytes(const KvPlan& plan, std::uint64_t prompt_tokens,
                                 std::uint64_t tokens, std::uint64_t budget);

// The largest number of cached tokens of one turn, prompt and new together, whose KV cache never
// exceeds limit_bytes: N* fits and N* + 1 does not, or N* is the context. 0: not even one token.
// Conversations longer than prompt_tokens decode the rest; the whole is declared as the budget.
Result<std::uint64_t> largest_tokens(const KvPlan& plan, std::uint64_t limit_bytes,
                                     std::uint64_t prompt_tokens);

}  // namespace rt
