// What a memory planner decided, checked, and turned from tokens into bytes.
//
// The planner (core/sdk/planner.h) is a plugin and may be wrong: make() asks it for a layout and
// refuses one that overlaps, is misaligned, leaves a layer out or names one twice; capacities()
// refuses answers that are too small or too large. After that a broken planner can waste
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
#include "core/memory/kv_problem.h"
#include "core/memory/refusal_text.h"

namespace rt {

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
  std::uint64_t live_tokens =
      0;  // most tokens that a ring or windowed table holds: W - 1 + U, or N
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
  std::uint64_t shared = 0;    // of `tokens`, in stripes that an earlier sequence holds too
};

// Whether a planner has no layout of its own and picks among others (rt_planner.choose).
inline bool planner_chooses(const rt_planner& planner) {
  return RT_HAS(&planner, choose) && planner.choose != nullptr;
}

class KvPlan {
 public:
  // `planner` lives as long as the process (libraries are never unloaded).
  static Result<KvPlan> make(const rt_planner& planner, const rt_host* host, RefusalText refusal,
                             KvProblem problem, const std::vector<Option>& options);
  const KvProblem& problem() const { return question_.problem(); }
  const std::string& planner_name() const { return name_; }
  // Of `common` tokens those that several sequences can hold once: whole stripes of every class; 0
  // without tables.
  std::uint64_t shareable_tokens(std::uint64_t common) const;
  const std::vector<KvClass>& classes() const { return classes_; }
  const std::vector<KvCharge>& charges() const { return charges_; }
  const std::vector<std::string>& explanation() const { return explanation_; }
  // Where layer position `layer` lies: (class, place within the class).
  std::pair<std::uint32_t, std::uint32_t> place(std::uint32_t layer) const {
    return places_[layer];
  }

  // How many tokens each sequence must have room for in class c: none without tokens, whatever the
  // planner would say. Where S = 0 the others get the largest answer, because they share one
  // layout.
  Result<std::vector<std::uint64_t>> capacities(std::uint32_t c,
                                                std::span<const KvNeed> sequences) const;

  // Affine and ring classes. Bytes that stand for one sequence with room for `capacity` tokens in
  // class c, as the ledger will count them (whole granules or pages).
  std::uint64_t bytes(std::uint32_t c, std::uint64_t capacity) const;
  // The same before rounding: what the layout spans.
  std::uint64_t span_bytes(std::uint32_t c, std::uint64_t capacity) const;

  // Table classes: a sequence that has been given room for `tokens` holds the stripes from
  // first_stripe(tokens) on; those before have left the window.
  std::uint64_t first_stripe(std::uint32_t c, std::uint64_t tokens) const;
  // Bytes of one stripe as they are taken: a page.
  std::uint64_t page_bytes(std::uint32_t c) const;
  // Most stripes that a sequence holds, and entries of its table.
  std::uint64_t held_stripes(std::uint32_t c) const;
  std::uint64_t table_entries(std::uint32_t c) const;
  // Bytes of all tables of all sequences, in device memory from the beginning (MemoryKind::kStep).
  std::uint64_t table_bytes() const;

  // Where memory can be made ready for the next commits (rt_device.make_ready), class c wants what
  // one stripe more takes, and no more than the `uncommitted` bytes of its address space.
  std::uint64_t wants_ready(std::uint32_t c, std::uint64_t uncommitted) const;
  // For pages, of which `pages` are in use. A window gives pages back and takes others for ever.
  std::uint64_t uncommitted_pages(std::uint32_t c, std::uint64_t pages) const;
  // What is ready beside a cache of `cache_bytes` if the classes together want `wanted`: whole
  // granules, as far as the limit leaves room. Nothing beside an empty cache.
  std::uint64_t ready_bytes(std::uint64_t wanted, std::uint64_t cache_bytes) const;
  // The most that cache and ready memory take together: of `left_bytes`, which nobody else takes,
  // what the planner does not charge. Until it is said, the problem's limit without the tables.
  void limit_ready(std::uint64_t left_bytes);
  std::uint64_t ready_limit_bytes() const { return ready_limit_bytes_; }

  // Sum over the classes: what stands once every sequence has room for its tokens, if none was
  // rewound, and what is ready beside it. Exact for shared stripes while the earlier sequence still
  // holds them in its window.
  Result<std::uint64_t> standing_bytes(std::span<const KvNeed> sequences) const;

  // The address rule's constants for one layer, when the class has room for `capacity` tokens.
  rt_kv_layout layout(std::uint32_t layer, std::uint64_t capacity) const;

 private:
  struct ClassBytes {
    std::uint64_t standing = 0;
    std::uint64_t uncommitted = 0;
  };
  Result<ClassBytes> class_bytes(std::uint32_t c, std::span<const KvNeed> sequences) const;
  Status ask_layout();
  Result<std::vector<std::uint64_t>> ask_capacities(
      std::uint32_t c, std::span<const rt_plan_sequence> sequences) const;
  Status check_capacity(const KvClass& kv_class, std::uint64_t tokens,
                        std::uint64_t capacity) const;
  Status check_classes();
  Status place_layers(std::uint32_t c);
  Status check_form(KvClass& kv_class) const;
  Status check_kind_of_growth(const KvClass& kv_class) const;
  Status check_plain_size(const KvClass& kv_class) const;
  Status check_sections(const KvClass& kv_class) const;
  Status check_section(const KvClass& kv_class, std::uint32_t layer, std::uint64_t offset,
                       std::uint64_t bytes) const;
  Status check_sizes() const;
  Status check_capacities() const;
  std::uint64_t row_bytes(std::uint32_t layer) const { return question_.row_bytes(layer); }
  std::uint64_t quantum(std::uint32_t c) const;  // in which memory is taken
  Error refuse(const std::string& why) const;

  const rt_planner* planner_ = nullptr;
  const rt_host* host_ = nullptr;
  RefusalText refusal_ = nullptr;
  std::string name_;
  KvQuestion question_;
  std::vector<KvClass> classes_;
  std::vector<KvCharge> charges_;
  std::vector<std::string> explanation_;
  std::uint64_t ready_limit_bytes_ = UINT64_MAX;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> places_;
};

}  // namespace rt
