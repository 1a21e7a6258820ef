// assess(): which implementations fit a node, and why the others do not.
#include <fnmatch.h>
#include <string.h>

#include <algorithm>
#include <limits>
#include <tuple>
#include <utility>

#include "core/base/text.h"
#include "core/plugin/selection.h"
#include "core/sdk/sdk.hpp"

namespace rt {
namespace {

constexpr std::uint64_t kRequirementLimitBytes = 1ull << 47;  // user address space of x86-64
constexpr std::int32_t kIsaTierEstimate = 200;  // what a plugin that is not open would say
constexpr std::int32_t kBaselineTierEstimate = 100;

// One candidate's way through the conditions, in the order of Verdict.
class Assessment {
 public:
  Assessment(Registry& registry, const Schema& schema, const rt_node& node,
             const SelectionPolicy& policy, const SelectionLimits& limits)
      : registry_(registry), schema_(schema), node_(node), policy_(policy), limits_(limits) {
    for (const Pin& pin : policy.pins) {
      if (!pin_matches(pin, node)) continue;
      pin_ = &pin;
      break;
    }
  }

  Decision of(const Candidate& candidate) {
    Decision decision;
    decision.full_name = candidate.full_name;
    decision.pinned = pin_ != nullptr && names_implementation(pin_->use, candidate.full_name);
    decision.preference = preference(candidate.full_name);
    estimate_tier(candidate, decision);
    check(candidate, decision);
    return decision;
  }

  // Of one without the ISA, whose plugin is open for another's sake: its true tier, and whether it
  // would have served this step at all.
  void look_again(const Candidate& candidate, Decision& decision) {
    if (decision.verdict != Verdict::kMissingIsa) return;
    const Implementation seen = registry_.peek(candidate);
    if (seen.c == nullptr) return;
    decision.implementation = seen;
    decision.tier = clamped(seen.c->tier, candidate.bundled, decision);
    check_traits(decision);
  }

 private:
  void check(const Candidate& candidate, Decision& decision) {
    if (!check_manifest(candidate, decision)) return;
    Result<Implementation> opened = registry_.open(candidate);
    if (!opened.ok()) return refuse(decision, Verdict::kCannotOpen, opened.error().message);
    decision.implementation = std::move(opened).value();
    decision.tier = clamped(decision.implementation.c->tier, candidate.bundled, decision);
    const std::int32_t said = std::min(decision.implementation.c->tier, kTierLimit);
    if (said > decision.tier) decision.clamped_from = said;
    if (!check_traits(decision) || !check_supports(decision)) return;
    if (!ask_requirements(decision)) return;
    check_limits(decision);
  }

  bool check_manifest(const Candidate& candidate, Decision& decision);
  bool check_traits(Decision& decision);
  bool check_supports(Decision& decision);
  bool ask_requirements(Decision& decision);
  std::string requirements_fault(const Decision& decision) const;
  void check_limits(Decision& decision);
  std::int32_t preference(const std::string& full_name) const;
  void estimate_tier(const Candidate& candidate, Decision& decision) const;

  static void refuse(Decision& decision, Verdict verdict, std::string reason) {
    decision.verdict = verdict;
    decision.reason = std::move(reason);
  }
  static std::int32_t clamped(std::int32_t tier, bool bundled, const Decision& decision) {
    const bool asked_for = bundled || decision.pinned || decision.preference >= 0;
    return std::clamp(tier, 0, asked_for ? kTierLimit : kStrangerTierLimit);
  }

  Registry& registry_;
  const Schema& schema_;
  const rt_node& node_;
  const SelectionPolicy& policy_;
  const SelectionLimits& limits_;
  const Pin* pin_ = nullptr;
};

// Words of `wanted` that `available` lacks; both are comma lists.
std::vector<std::string> missing_words(std::string_view wanted, std::string_view available) {
  const auto next = [](std::string_view& list) {
    const std::size_t end = std::min(list.find(','), list.size());
    const std::string_view word = list.substr(0, end);
    list.remove_prefix(std::min(end + 1, list.size()));
    return word;
  };
  std::vector<std::string> missing;
  while (!wanted.empty()) {
    const std::string_view word = next(wanted);
    bool there = false;
    for (std::string_view rest = available; !rest.empty() && !there;) there = next(rest) == word;
    if (!there) missing.emplace_back(word);
  }
  return missing;
}

std::string kv_forms_text(std::uint32_t forms) {
  std::vector<std::string> names;
  if (forms & RT_KV_FORM_BIT(RT_KV_AFFINE)) names.emplace_back("affine");
  if (forms & RT_KV_ONE_STRIPE) names.emplace_back("affine in one stripe");
  if (forms & RT_KV_FORM_BIT(RT_KV_RING)) names.emplace_back("ring");
  if (forms & RT_KV_FORM_BIT(RT_KV_TABLE)) names.emplace_back("table");
  return names.empty() ? "none" : join(names, ", ");
}

// What the plugin said, or what we have to say for it.
std::string said(const Status& refused) {
  const std::string_view text = last_fail_text();
  return text.empty() ? refused.error().message : std::string(text);
}

std::int32_t Assessment::preference(const std::string& full_name) const {
  for (std::size_t i = 0; i < policy_.prefer.size(); ++i) {
    if (names_implementation(policy_.prefer[i], full_name)) return static_cast<std::int32_t>(i);
  }
  return -1;
}

void Assessment::estimate_tier(const Candidate& candidate, Decision& decision) const {
  const std::int32_t guess =
      candidate.manifest->isa.empty() ? kBaselineTierEstimate : kIsaTierEstimate;
  decision.tier = clamped(guess, candidate.bundled, decision);
}

bool Assessment::check_manifest(const Candidate& candidate, Decision& decision) {
  const ManifestImplementation& manifest = *candidate.manifest;
  const std::string device = node_.device->kind;
  if (pin_ != nullptr && !decision.pinned) {
    refuse(decision, Verdict::kNotPinned, "the config pins '" + pin_->use + "' here");
  } else if (manifest.op.version != node_.op_version) {
    refuse(decision, Verdict::kWrongVersion,
           "computes version " + std::to_string(manifest.op.version) + ", the graph wants " +
               std::to_string(node_.op_version));
  } else if (manifest.device_kind != device) {
    refuse(decision, Verdict::kWrongDevice,
           "is for device '" + manifest.device_kind + "', the graph runs on '" + device + "'");
  } else if (const auto missing = missing_words(manifest.isa, node_.device->isa);
             !missing.empty()) {
    refuse(decision, Verdict::kMissingIsa,
           "needs " + join(missing, ", ") + ", which this device lacks");
  } else {
    return true;
  }
  return false;
}

bool Assessment::check_traits(Decision& decision) {
  const rt_implementation& item = *decision.implementation.c;
  if ((item.step_classes & node_.step_class) == 0) {
    refuse(decision, Verdict::kWrongStepClass,
           "does not serve " + step_class_text(node_.step_class) + " steps");
    return false;
  }
  for (std::uint32_t i = 0; item.weight_dtypes != 0 && i < node_.input_count; ++i) {
    const rt_dtype dtype = node_.inputs[i]->dtype;
    const bool weight = schema_.c->inputs[i]->kind == RT_PORT_WEIGHT;
    if (!weight || (item.weight_dtypes & RT_DTYPE_BIT(dtype)) != 0) continue;
    refuse(decision, Verdict::kWrongWeightType,
           std::string("is made for other weights than ") + sdk::dtype_name(dtype));
    return false;
  }
  if (node_.exact != 0 && (item.traits & RT_TRAIT_EXACT) == 0) {
    refuse(decision, Verdict::kNotExact,
           "rounds the inputs of products, operators.exact forbids that");
    return false;
  }
  if (node_.exact != 0 && (item.traits & RT_TRAIT_BITS_OF_BATCH) != 0) {
    refuse(decision, Verdict::kNotExact,
           "gives a sequence bits that depend on what is beside it, operators.exact forbids that");
    return false;
  }
  return true;
}

bool Assessment::check_supports(Decision& decision) {
  const Implementation& item = decision.implementation;
  if (item.c->supports == nullptr) return true;
  const Status asked = call_plugin({item.full_name, "supports", node_.name},
                                   [&] { return item.c->supports(item.host, &node_); });
  if (asked.ok()) return true;
  refuse(decision, Verdict::kUnsupported, said(asked));
  return false;
}

bool Assessment::ask_requirements(Decision& decision) {
  const Implementation& item = decision.implementation;
  rt_requirements& needs = decision.requirements;
  needs.struct_size = sizeof needs;
  if (item.c->require == nullptr) {
    needs.kv_forms = schema_.c->has_kv_state != 0 ? RT_KV_ALL_FORMS : 0;
    return true;
  }
  const Status asked = call_plugin({item.full_name, "require", node_.name},
                                   [&] { return item.c->require(item.host, &node_, &needs); });
  if (!asked.ok()) {
    refuse(decision, Verdict::kUnsupported, said(asked));
    return false;
  }
  if (schema_.c->has_kv_state == 0) needs.kv_forms = 0;
  needs.kv_forms &= RT_KV_ALL_FORMS | RT_KV_ONE_STRIPE;
  if (std::string fault = requirements_fault(decision); !fault.empty()) {
    refuse(decision, Verdict::kUnsupported, "its require() is wrong: " + fault);
    return false;
  }
  return true;
}

// What is wrong with a plugin's answer, "" if nothing.
std::string Assessment::requirements_fault(const Decision& decision) const {
  const rt_requirements& needs = decision.requirements;
  if (schema_.c->has_kv_state != 0 && needs.kv_forms == 0) {
    return "expected the KV forms it reads, found none";
  }
  if (needs.workspace_bytes > kRequirementLimitBytes || needs.meta_bytes > kRequirementLimitBytes) {
    return "it asks for " + std::to_string(std::max(needs.workspace_bytes, needs.meta_bytes)) +
           " bytes";
  }
  bool packs = false;
  for (std::uint32_t i = 0; i < RT_MAX_PORTS; ++i) {
    if (needs.packed_bytes[i] == 0) continue;
    packs = true;
    if (i >= schema_.c->input_count || schema_.c->inputs[i]->kind != RT_PORT_WEIGHT) {
      return "it packs input " + std::to_string(i) + ", which is no weight";
    }
    if (needs.packed_bytes[i] > kRequirementLimitBytes) {
      return "it packs input " + std::to_string(i) + " into " +
             std::to_string(needs.packed_bytes[i]) + " bytes";
    }
  }
  if (!packs) return needs.packed_layout == nullptr ? "" : "it names a layout and packs nothing";
  if (decision.implementation.c->pack == nullptr) return "it packs, and has no pack()";
  const char* layout = needs.packed_layout;
  if (layout == nullptr || !is_version({layout, ::strnlen(layout, kNameLimitBytes + 1)})) {
    return "it packs, and names no layout of [A-Za-z0-9_.+-]";
  }
  return "";
}

void Assessment::check_limits(Decision& decision) {
  std::uint32_t read = decision.requirements.kv_forms;
  if (read & RT_KV_FORM_BIT(RT_KV_AFFINE)) read |= RT_KV_ONE_STRIPE;
  const std::uint32_t lacking = limits_.kv_forms & ~read;
  if (schema_.c->has_kv_state != 0 && lacking != 0) {
    return refuse(decision, Verdict::kWrongKvForm,
                  "reads KV form " + kv_forms_text(decision.requirements.kv_forms) +
                      ", the planner chose " + kv_forms_text(limits_.kv_forms));
  }
  if (limits_.packed_layout && decision.packed_layout() != *limits_.packed_layout) {
    refuse(decision, Verdict::kWrongLayout,
           layout_text(decision.packed_layout()) + ", the other reader " +
               layout_text(*limits_.packed_layout));
  }
}

// True if `a` goes before `b` (of those that fit).
bool goes_first(const Decision& a, const Decision& b) {
  const auto rank = [](const Decision& d) {
    const std::int32_t preference =
        d.preference < 0 ? std::numeric_limits<std::int32_t>::max() : d.preference;
    return std::make_tuple(preference, -d.tier, !d.implementation.bundled);
  };
  return std::make_tuple(rank(a), a.full_name) < std::make_tuple(rank(b), b.full_name);
}

}  // namespace

void sort_decisions(std::vector<Decision>& decisions) {
  std::stable_sort(decisions.begin(), decisions.end(), [](const Decision& a, const Decision& b) {
    if (a.usable() != b.usable()) return a.usable();
    return a.usable() ? goes_first(a, b) : a.full_name < b.full_name;
  });
}

std::string step_class_text(rt_step_class step_class) {
  return step_class == RT_STEP_DECODE ? "decode" : "prefill";
}

std::string layout_text(const std::string& layout) {
  return layout.empty() ? "reads weights in place" : "packs weights as '" + layout + "'";
}

std::string Decision::packed_layout() const {
  return requirements.packed_layout == nullptr ? "" : requirements.packed_layout;
}

bool names_implementation(std::string_view use, std::string_view full_name) {
  const std::size_t slash = full_name.find('/');
  return use == full_name || use == full_name.substr(0, slash) ||
         use == full_name.substr(slash + 1);
}

bool pin_matches(const Pin& pin, const rt_node& node) {
  const std::string op = node.op;
  return pin.target == op || pin.target == op + "@" + std::to_string(node.op_version) ||
         ::fnmatch(pin.target.c_str(), node.name, 0) == 0;
}

std::vector<Decision> assess(Registry& registry, const Schema& schema, const rt_node& node,
                             const SelectionPolicy& policy, const SelectionLimits& limits) {
  Assessment assessment(registry, schema, node, policy, limits);
  std::vector<Decision> decisions;
  const std::vector<Candidate> candidates = registry.candidates(node.op);
  for (const Candidate& candidate : candidates) decisions.push_back(assessment.of(candidate));
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    assessment.look_again(candidates[i], decisions[i]);
  }
  sort_decisions(decisions);
  return decisions;
}

std::uint32_t readable_kv_forms(const std::vector<Decision>& decisions) {
  std::uint32_t forms = 0;
  for (const Decision& decision : decisions) {
    if (decision.usable()) forms |= decision.requirements.kv_forms;
  }
  // A planner answers with stripes: whether it made one of them is looked at after.
  if (forms & RT_KV_ONE_STRIPE) forms |= RT_KV_FORM_BIT(RT_KV_AFFINE);
  return forms & RT_KV_ALL_FORMS;
}

}  // namespace rt
