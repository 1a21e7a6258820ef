// What a session is prepared from: a graph, where its weights are, and the deployment (config and
// command line, already merged and checked for spelling).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/base/options.h"
#include "core/engine/device_file.h"
#include "core/engine/weight_formats.h"
#include "core/memory/kv_request.h"
#include "core/plugin/selection.h"
#include "core/sdk/abi.h"

namespace rt {

// Where the weights come from.
enum class WeightSource {
  kCheckpoint,  // EngineOptions::weights, a Hugging Face folder
  kRandom,      // seeded random weights of the graph's full size, for measuring
  kNoWeights,   // no weights at all: only a plan can be made
};

struct EngineOptions {
  std::string graph;  // path of the YAML graph
  WeightSource source = WeightSource::kCheckpoint;
  std::string
      weights;  // folder; for kRandom and kNoWeights a config.json is read from it if not empty
  std::uint64_t random_seed = 0;

  std::string device = "cpu";
  std::uint32_t device_index = 0;
  std::vector<Option> device_options;  // threads, ...
  // Plan for this machine instead of the one at hand (device_file.h); such a plan cannot be run.
  std::shared_ptr<const DescribedDevice> described_device;
  SelectionPolicy selection;
  bool exact = false;     // products never round their inputs
  bool fuse = true;       // fused operators run in place of what they are made of, where they can
  bool blocking = false;  // waits for each operator and records nothing, to find the one at fault
  WeightFormats weight_formats;

  std::string planner = "elastic";
  std::vector<Option> planner_options;
  // 0: the weights' type if it has 16 bits, else f32. `exact` does not touch it: it is about
  // products, and these read the cache's values in f32 whatever they are stored as.
  rt_dtype kv_dtype = 0;

  std::uint64_t context_tokens = 0;  // N; 0: the model's
  std::uint64_t prompt_tokens = 0;   // declared budget, 0: unknown
  std::uint64_t new_tokens = 0;
  bool hard_budget = false;         // the user stated new_tokens or context_tokens
  std::uint32_t step_tokens = 512;  // U; prefill goes in chunks of this
  std::uint32_t max_sequences = 1;  // B
  // Every request of a batch; as many run at once as there are sequences. Empty: the one request
  // that is declared above.
  std::vector<KvRequest> batch;
  // Of the batch's prompts, held by a sequence of its own (one of the B) that they are forked from.
  std::uint64_t shared_tokens = 0;
  // What the batch's prompts begin with, as far as it is known when a planner is picked; one of the
  // B sequences is then for it. 0: nothing.
  std::uint64_t common_tokens = 0;
  std::uint32_t history_tokens = 64;     // most ids a row's penalties look back at
  bool all_rows = false;                 // logits for every token of a step, not for its last ones
  std::uint64_t memory_limit_bytes = 0;  // 0: what the device says is available
};

}  // namespace rt
