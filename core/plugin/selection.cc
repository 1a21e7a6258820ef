#include "core/plugin/selection.h"

#include <algorithm>
#include <utility>

#include "core/base/text.h"

namespace rt {
namespace {

// "tier 200", or "tier 300 counts as 200 outside the install prefix".
std::string tier_text(const Decision& decision) {
  if (decision.clamped_from == 0) return "tier " + std::to_string(decision.tier);
  return "tier " + std::to_string(decision.clamped_from) + " counts as " +
         std::to_string(decision.tier) + " outside the install prefix";
}

std::string chosen_reason(const Decision& chosen) {
  if (chosen.pinned) return "pinned by the config";
  if (chosen.preference >= 0) return "preferred by the config";
  return tier_text(chosen);
}

std::string second_reason(const Decision& second, const Decision& chosen) {
  if (second.preference != chosen.preference) return "fits; " + chosen.full_name + " is preferred";
  if (second.clamped_from != 0) {
    return "fits; " + tier_text(second) + ", " + chosen.full_name + " has " +
           std::to_string(chosen.tier) + "; --prefer " + second.full_name + " chooses it";
  }
  if (second.tier != chosen.tier) {
    return "fits; tier " + std::to_string(second.tier) + ", " + chosen.full_name + " has " +
           std::to_string(chosen.tier);
  }
  if (second.implementation.bundled != chosen.implementation.bundled) {
    return "fits; " + chosen.full_name + " has the same tier and is installed with the runtime";
  }
  return "fits; " + chosen.full_name + " has the same tier and comes first by name";
}

// Tiers go by hundreds (PLUGINS.md): reference, portable, optimised, for one architecture.
bool same_rank(const Decision& a, const Decision& b) {
  constexpr int kRank = 100;
  return a.tier / kRank == b.tier / kRank;
}

// Is it worth a note that `refused` was not taken although it ranks before `chosen`?
bool is_fallback(const Decision& refused, const Decision& chosen) {
  switch (refused.verdict) {
    // Another variant of the same rank, for another type of weights or cache than the one that was
    // chosen: no step is slow for it, and `runtime plugins why` tells of it.
    case Verdict::kUnsupported:
      if (refused.preference < 0 && same_rank(refused, chosen)) return false;
      break;
    case Verdict::kCannotOpen:
    case Verdict::kWrongKvForm:
    case Verdict::kWrongLayout:
      break;
    case Verdict::kMissingIsa:  // nothing that anybody could change, unless it was asked for
    case Verdict::kNotExact:
      if (refused.preference < 0) return false;
      break;
    default:
      return false;
  }
  if (chosen.pinned) return false;
  if (refused.preference >= 0 || chosen.preference >= 0) {
    return refused.preference >= 0 &&
           (chosen.preference < 0 || refused.preference < chosen.preference);
  }
  return refused.tier > chosen.tier;
}

std::string node_text(const rt_node& node) {
  return std::string("node '") + node.name + "' (" + node.op + "@" +
         std::to_string(node.op_version) + ", " + step_class_text(node.step_class) + ", " +
         node.device->kind + ")";
}

Error none_fits(const rt_node& node, const std::vector<Decision>& decisions) {
  if (decisions.empty()) {
    return bad_input(node_text(node) + ": no plugin implements this operator");
  }
  // A pin leaves the others no chance: what they lack is not the reason.
  const auto pinned = [](const Decision& decision) { return decision.pinned; };
  const bool any_pinned = std::any_of(decisions.begin(), decisions.end(), pinned);
  if (!any_pinned && decisions.front().verdict == Verdict::kNotPinned) {
    return bad_input(node_text(node) + ": " + decisions.front().reason +
                     ", which does not implement it; `runtime plugins list` says what does");
  }
  std::string message = node_text(node) + (any_pinned ? ": what the config pins here does not fit"
                                                      : ": no implementation fits");
  for (const Decision& decision : decisions) {
    if (any_pinned && !decision.pinned) continue;
    message += "; " + decision.full_name + ": " + decision.reason;
  }
  return bad_input(message);
}

// Takes the first usable decision.
Result<Selection> finish(const rt_node& node, std::vector<Decision> decisions) {
  if (decisions.empty() || !decisions.front().usable()) return none_fits(node, decisions);
  Selection selection = take_first(std::move(decisions));
  const Decision& chosen = selection.decision();
  for (const Decision& other : selection.decisions) {
    if (is_fallback(other, chosen)) {
      selection.notes.push_back(std::string(node.op) + ": " + chosen.full_name + " instead of " +
                                other.full_name + ": " + other.reason);
    }
  }
  return selection;
}

// Refuses what does not have `layout`.
std::vector<Decision> with_layout(std::vector<Decision> decisions, const std::string& layout) {
  for (Decision& decision : decisions) {
    if (!decision.usable() || decision.packed_layout() == layout) continue;
    decision.verdict = Verdict::kWrongLayout;
    decision.reason = layout_text(decision.packed_layout()) + ", decode " + layout_text(layout);
  }
  sort_decisions(decisions);
  return decisions;
}

bool any_usable(const std::vector<Decision>& decisions) {
  return !decisions.empty() && decisions.front().usable();
}

rt_node for_class(rt_node node, rt_step_class step_class) {
  node.step_class = step_class;
  return node;
}

}  // namespace

Status check_policy(const Registry& registry, const SelectionPolicy& policy) {
  std::vector<std::string> known;
  for (const PluginEntry& entry : registry.plugins()) {
    if (!entry.manifest || entry.state == PluginState::kShadowed) continue;
    for (const ManifestImplementation& item : entry.manifest->implementations) {
      for (std::string name : {item.name, entry.name(), entry.name() + "/" + item.name}) {
        known.push_back(std::move(name));
      }
    }
  }
  const auto check = [&](const std::string& use, const std::string& where) -> Status {
    if (std::find(known.begin(), known.end(), use) != known.end()) return {};
    return bad_input(where + ": expected an implementation, a plugin or plugin/implementation, " +
                     "found " + quote(use) + did_you_mean(use, known));
  };
  for (const Pin& pin : policy.pins) {
    RT_RETURN_IF_ERROR(check(pin.use, "operators.pin: " + quote(pin.target)));
  }
  for (const std::string& use : policy.prefer) {
    RT_RETURN_IF_ERROR(check(use, "operators.prefer"));
  }
  return {};
}

Selection take_first(std::vector<Decision> decisions) {
  Selection selection;
  selection.decisions = std::move(decisions);
  Decision& chosen = selection.decisions.front();
  chosen.verdict = Verdict::kChosen;
  chosen.reason = chosen_reason(chosen);
  selection.chosen = chosen.implementation;
  selection.requirements = chosen.requirements;
  for (Decision& other : selection.decisions) {
    if (other.verdict == Verdict::kUsable) other.reason = second_reason(other, chosen);
  }
  return selection;
}

Result<Selection> select(Registry& registry, const Schema& schema, const rt_node& node,
                         const SelectionPolicy& policy, const SelectionLimits& limits) {
  return finish(node, assess(registry, schema, node, policy, limits));
}

Result<NodeSelection> select_both(Registry& registry, const Schema& schema, const rt_node& node,
                                  const SelectionPolicy& policy, const SelectionLimits& limits) {
  const rt_node decode_node = for_class(node, RT_STEP_DECODE);
  const rt_node prefill_node = for_class(node, RT_STEP_PREFILL);
  std::vector<Decision> decode = assess(registry, schema, decode_node, policy, limits);
  const std::vector<Decision> prefill = assess(registry, schema, prefill_node, policy, limits);
  if (!any_usable(decode)) return none_fits(decode_node, decode);
  if (!any_usable(prefill)) return none_fits(prefill_node, prefill);
  // A weight stands once, in one form.
  std::vector<Decision> matching = with_layout(prefill, decode.front().packed_layout());
  while (!any_usable(matching)) {
    Decision& skipped = decode.front();
    skipped.verdict = Verdict::kWrongLayout;
    skipped.reason =
        layout_text(skipped.packed_layout()) + ", which no prefill implementation does";
    sort_decisions(decode);
    if (!any_usable(decode)) return none_fits(decode_node, decode);
    matching = with_layout(prefill, decode.front().packed_layout());
  }
  RT_TRY(Selection first, finish(decode_node, std::move(decode)));
  RT_TRY(Selection second, finish(prefill_node, std::move(matching)));
  return NodeSelection{std::move(first), std::move(second)};
}

}  // namespace rt
