// Which implementation computes a node. For one node and step class, in this order:
//
//   1. pinned in the config for this node or operator: that one, or an error;
//   2. the configured preference list, earlier entries first;
//   3. of those whose device kind, version, ISA, step class, exact trait, KV form and weight layout
//      fit and whose supports() and require() agree: the highest tier. Tiers are clamped to
//      [0, 300], a stranger's (not in the install prefix) to 200 unless the user asked for it;
//   4. at equal tier the installed one, then the full name in byte order.
//
// Every candidate keeps its reason (`plugins why`). When something better was refused by supports()
// or require(), or something that the config prefers by the ISA, a note says so. What a processor
// lacks is no news to its owner: every start on one without AVX-512 would bring eight lines.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/result.h"
#include "core/plugin/registry.h"
#include "core/sdk/operator.h"

namespace rt {

inline constexpr std::int32_t kTierLimit = 300;
inline constexpr std::int32_t kStrangerTierLimit = 200;

// `target` is an operator ("linear", "linear@1") or a pattern over node names ("layer.*.mlp").
// `use` is an implementation name ("avx2"), a plugin name ("acme_linear") or both
// ("acme_linear/avx2").
struct Pin {
  std::string target;
  std::string use;
};

struct SelectionPolicy {
  std::vector<Pin> pins;            // the first that matches a node counts
  std::vector<std::string> prefer;  // each as Pin::use
};

// True if `pin` is about a node with this name and operator.
bool pin_matches(const Pin& pin, const rt_node& node);

// Says whether every pin and preference names something that exists; with a "did you mean".
Status check_policy(const Registry& registry, const SelectionPolicy& policy);

// True if an implementation with this full name ("plugin/name") is meant by `use`.
bool names_implementation(std::string_view use, std::string_view full_name);

// What else an implementation must satisfy at this node.
struct SelectionLimits {
  std::uint32_t kv_forms = 0;  // it must read all of these (RT_KV_FORM_BIT); 0: no condition yet
  // Weight layout it must have: "" reads in place, else the packed_layout. Absent: any.
  std::optional<std::string> packed_layout;
};

enum class Verdict {
  kChosen,
  kUsable,     // fits, but another one goes first
  kNotPinned,  // the config pins another one here
  kWrongVersion,
  kWrongDevice,
  kMissingIsa,
  kCannotOpen,
  kWrongStepClass,
  kWrongWeightType,  // made for weights of other types
  kNotExact,
  kUnsupported,  // by supports() or require()
  kWrongKvForm,
  kWrongLayout,
};

// One candidate's fate.
struct Decision {
  std::string full_name;
  Verdict verdict = Verdict::kUsable;
  std::string reason;             // one sentence, also for kChosen and kUsable
  Implementation implementation;  // .c is NULL where the plugin was not opened
  std::int32_t tier = 0;          // after clamping; an estimate where not opened
  // What a stranger says of itself beyond kStrangerTierLimit; 0: nothing was taken from it.
  std::int32_t clamped_from = 0;
  std::int32_t preference = -1;  // index into policy.prefer; -1: none
  bool pinned = false;
  rt_requirements requirements{};  // of kChosen and kUsable (and kWrongKvForm, kWrongLayout)

  bool usable() const { return verdict == Verdict::kChosen || verdict == Verdict::kUsable; }
  // "" if it reads the weights in place.
  std::string packed_layout() const;
};

// What is chosen, and the decisions behind it.
struct Selection {
  Implementation chosen;
  rt_requirements requirements{};
  std::vector<Decision> decisions;  // usable ones first, best first; then the refused, by name
  std::vector<std::string>
      notes;  // fall-backs; without the node's name, so that they can be merged

  const Decision& decision() const { return decisions.front(); }
};

// Assesses every candidate for `node` (whose step_class says which class is being bound): usable
// ones first, best first. Nothing is chosen yet: the engine intersects readable_kv_forms() over
// layers and classes before it asks a planner.
std::vector<Decision> assess(Registry& registry, const Schema& schema, const rt_node& node,
                             const SelectionPolicy& policy, const SelectionLimits& limits);

// The order of the list that assess() returns: usable ones best first, then the refused by name.
void sort_decisions(std::vector<Decision>& decisions);

// For messages: "decode"; "reads weights in place", "packs weights as 'tiles8'".
std::string step_class_text(rt_step_class step_class);
std::string layout_text(const std::string& layout);

// OR of the KV forms that usable decisions read.
std::uint32_t readable_kv_forms(const std::vector<Decision>& decisions);

// The selection that takes the first of `decisions`. Precondition: it is usable.
Selection take_first(std::vector<Decision> decisions);

// Chooses for one step class. The Error lists every candidate with its reason.
Result<Selection> select(Registry& registry, const Schema& schema, const rt_node& node,
                         const SelectionPolicy& policy, const SelectionLimits& limits);

// Chooses for both step classes: the best decode implementation for which a prefill one with the
// same weight layout exists: a weight stands once. node.step_class is ignored.
struct NodeSelection {
  Selection decode;
  Selection prefill;
};
Result<NodeSelection> select_both(Registry& registry, const Schema& schema, const rt_node& node,
                                  const SelectionPolicy& policy, const SelectionLimits& limits);

}  // namespace rt
