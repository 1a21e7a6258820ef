// What a memory planner decided, checked, and turned from tokens into bytes.
//
// The planner (core/sdk/planner.h) is a plugin and may be wrong: make() asks it for a layout and
// refuses one that overlaps, is misaligned, leaves a layer out or names one twice; capacities()
// refuses answers that are too small, too large or falling. After that a broken planner can waste
// memory and cannot corrupt it. The same object serves the plan (no device) and the KV store, so
// what is predicted and what is done are one computation.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/base/options.h"
#include "core/base/result.h"
#include "core/graph/graph.h"
#include "core/sdk/planner.h"

namespace rt {

struct KvProblem {
  std::vector<KvLayer> layers;
  rt_dtype dtype = RT_F32;
  std::uint32_t forms = RT_KV_ALL_FORMS;
  std::uint64_t context_tokens = 0;  // N
  std::uint64_t prompt_tokens = 0;
  std::uint64_t new_tokens = 0;
  bool hard_budget = false;
  std::uint32_t step_tokens = 1;    // U
  std::uint32_t max_sequences = 1;  // B
  bool can_reserve = true;
  std::uint64_t granule_bytes = 4096;
  std::uint64_t alignment_bytes = 64;
  std::uint64_t limit_bytes = UINT64_MAX;
};

struct KvClass {
  rt_kv_form form = RT_KV_AFFINE;
  rt_growth growth = RT_GROW_NEVER;
  std::uint32_t window = 0;
  std::vector<std::uint32_t> layers;     // positions in KvProblem::layers
  std::uint64_t stripe_tokens = 0;       // S; 0: a stripe is the whole capacity
  std::uint64_t stripe_bytes = 0;        // S > 0
  std::vector<std::uint64_t> k_offsets;  // S > 0
  std::vector<std::uint64_t> v_offsets;
  std::uint64_t reserve_tokens = 0;
  std::uint64_t ring_tokens = 0;  // most slots a sequence ever needs here: W - 1 + U, or N
};

struct KvCharge {
  std::string name;
  std::uint64_t bytes = 0;
};

// A sequence as the planner is asked about it.
struct KvNeed {
  std::uint64_t tokens = 0;    // must have room for
  std::uint64_t capacity = 0;  // has room for now
  std::uint64_t budget = 0;    // declared prompt + new, 0: none
};

class KvPlan {
 public:
  using RefusalText = std::string (*)();

  // `planner` lives as long as the process (libraries are never unloaded).
  static Result<KvPlan> make(const rt_planner& planner, const rt_host* host, RefusalText refusal,
                             KvProblem problem, std::vector<Option> options);
  // The same question asked again: another object with the same answer.
  Result<KvPlan> again() const;

  const KvProblem& problem() const { return problem_; }
  const std::string& planner_name() const { return name_; }
  const std::vector<KvClass>& classes() const { return classes_; }
  const std::vector<KvCharge>& charges() const { return charges_; }
  const std::vector<std::string>& explanation() const { return explanation_; }
  // Where layer position `layer` lies: (class, place within the class).
  std::pair<std::uint32_t, std::uint32_t> place(std::uint32_t layer) const {
    return places_[layer];
  }

  // How many tokens each sequence must have room for in class c. Where S = 0 all sequences that
  // hold anything get the largest answer, because they share one layout.
  Result<std::vector<std::uint64_t>> capacities(std::uint32_t c,
                                                std::span<const KvNeed> sequences) const;

  // Bytes that stand for one sequence with room for `capacity` tokens in class c, as the ledger
  // will count them (whole granules or pages).
  std::uint64_t bytes(std::uint32_t c, std::uint64_t capacity) const;
  // The same before rounding: what the layout spans.
  std::uint64_t span_bytes(std::uint32_t c, std::uint64_t capacity) const;
  // Sum over the classes: what stands once every sequence has room for its tokens.
  Result<std::uint64_t> standing_bytes(std::span<const KvNeed> sequences) const;
  // Highest bytes on the way from nothing to `tokens` in steps of at most U: differs from
  // standing_bytes where growth moves (old and new are alive together).
  Result<std::uint64_t> peak_bytes(std::uint64_t tokens, std::uint64_t budget) const;

  // The address rule's constants for one layer, when the class has room for `capacity` tokens.
  rt_kv_layout layout(std::uint32_t layer, std::uint64_t capacity) const;

 private:
  Status ask_layout();
  Status check_sections(const KvClass& kv_class) const;
  Status check_coverage();
  Status check_growth() const;
  std::uint64_t row_bytes(std::uint32_t layer) const;  // of K; V is the same
  std::uint64_t slots(const KvClass& kv_class, std::uint64_t capacity) const;
  Error refuse(const std::string& why) const;

  const rt_planner* planner_ = nullptr;
  const rt_host* host_ = nullptr;
  RefusalText refusal_ = nullptr;
  std::string name_;
  KvProblem problem_;
  std::vector<Option> given_options_;
  OptionList options_;
  std::vector<rt_plan_layer> c_layers_;
  std::vector<const rt_plan_layer*> c_layer_pointers_;
  rt_plan_problem c_problem_{};
  std::vector<KvClass> classes_;
  std::vector<KvCharge> charges_;
  std::vector<std::string> explanation_;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> places_;
};

}  // namespace rt
