#include "core/engine/fusion.h"

#include <algorithm>
#include <set>

#include "core/engine/blueprint.h"
#include "core/graph/node_view.h"

namespace rt {
namespace {

// Larger patterns first; of equal ones ours, then by name; one operator's places in the order in
// which they run.
bool goes_first(const FusedNode& a, const FusedNode& b) {
  const auto rank = [](const FusedNode& node) {
    const std::string& op = node.match.node.op;
    return std::make_tuple(-std::ssize(node.match.parts), op.find('.') != std::string::npos, op,
                           node.match.parts.back());
  };
  return rank(a) < rank(b);
}

// Who has a node in one step class.
using Claims = std::vector<const FusedNode*>;

class Chooser {
 public:
  Chooser(Registry& registry, const Blueprint& b, std::uint32_t kv_forms, bool decode)
      : registry_(registry),
        b_(b),
        kv_forms_(kv_forms),
        decode_(decode),
        claims_(b.graph.nodes.size(), nullptr) {}

  void choose(const FusedNode& fused, FusedChoice& choice) {
    choice = {};
    choice.reason = claimed(fused);
    if (!choice.reason.empty()) return;
    choice.selection = select(fused);
    const std::vector<Decision>& decisions = choice.selection.decisions;
    if (decisions.empty() || !decisions.front().usable()) {
      choice.reason = "no implementation fits; its parts run";
      return;
    }
    choice.reason = outranked(fused, decisions.front());
    if (!choice.reason.empty()) return stand_back(choice.selection.decisions);
    choice.taken = true;
    choice.selection = take_first(std::move(choice.selection.decisions));
    for (const std::uint32_t part : fused.match.parts) claims_[part] = &fused;
  }

  std::vector<std::uint32_t> order() const {
    std::vector<std::uint32_t> order;
    for (std::uint32_t n = 0; n < claims_.size(); ++n) {
      const FusedNode* const fused = claims_[n];
      if (fused == nullptr) {
        order.push_back(n);
      } else if (fused->match.parts.back() == n) {
        order.push_back(static_cast<std::uint32_t>(
            claims_.size() + static_cast<std::size_t>(fused - b_.fused.data())));
      }
    }
    return order;
  }

 private:
  // Those that fit where the parts run all the same.
  static void stand_back(std::vector<Decision>& decisions) {
    for (Decision& decision : decisions) {
      if (!decision.usable()) continue;
      decision.reason = "fits; its parts run";
      if (decision.clamped_from == 0) continue;
      decision.reason += "; tier " + std::to_string(decision.clamped_from) + " counts as " +
                         std::to_string(decision.tier) + " outside the install prefix, --prefer " +
                         decision.full_name + " chooses it";
    }
  }

  std::string claimed(const FusedNode& fused) const {
    for (const std::uint32_t part : fused.match.parts) {
      if (claims_[part] == nullptr) continue;
      return "its " + b_.graph.nodes[part].op + " runs in " + claims_[part]->match.node.op;
    }
    return "";
  }

  Selection select(const FusedNode& fused) const {
    const GraphNode& node = fused.match.node;
    const NodeView view(b_.graph, node,
                        {&b_.desc, &b_.bounds, b_.kv_dtype,
                         decode_ ? rt_step_class{RT_STEP_DECODE} : rt_step_class{RT_STEP_PREFILL},
                         b_.options.exact, true});
    SelectionLimits limits;
    if (node.kv_layer != kNone) limits.kv_forms = kv_forms_;
    limits.packed_layout = "";
    Selection selection;
    selection.decisions =
        assess(registry_, {node.schema, nullptr, ""}, *view.get(), b_.options.selection, limits);
    return selection;
  }

  // "" or which part has a better claim: the config's word about it, a form of its weights that the
  // fused node cannot read, or a higher tier.
  std::string outranked(const FusedNode& fused, const Decision& best) const {
    const bool asked_for = best.pinned || best.preference >= 0;
    for (const std::uint32_t part : fused.match.parts) {
      const std::string& op = b_.graph.nodes[part].op;
      for (const bool decode : {true, false}) {
        const Decision& other = b_.selection(part, decode).decision();
        if (other.packed_layout().empty()) continue;
        return "its " + op + " " + layout_text(other.packed_layout()) +
               ", a fused node reads them in place";
      }
      const Decision& other = b_.selection(part, decode_).decision();
      if (asked_for) continue;
      if (other.pinned || other.preference >= 0) {
        return "the config asks for " + other.full_name + " at its " + op;
      }
      if (other.tier > best.tier) {
        return best.full_name + " has tier " + std::to_string(best.tier) + ", " + other.full_name +
               " at its " + op + " " + std::to_string(other.tier);
      }
    }
    return "";
  }

  Registry& registry_;
  const Blueprint& b_;
  const std::uint32_t kv_forms_;
  const bool decode_;
  Claims claims_;
};

}  // namespace

void find_fusions(Registry& registry, Blueprint& b) {
  b.fused.clear();
  if (!b.options.fuse) return;
  std::set<std::string> operators;
  SchemaSet schemas;
  for (const GraphNode& node : b.graph.nodes) {
    operators.insert(node.op + "@" + std::to_string(node.op_version));
    schemas.add(node.schema);
  }
  for (const Fusion& fusion : registry.fusions(operators, b.desc.kind)) {
    auto fused = FusedOperator::make(*fusion.c, schemas);
    if (!fused.ok()) {
      b.model_notes.push_back("plugin " + fusion.plugin + ": " + fused.error().message);
      continue;
    }
    for (FusionMatch& match : find_matches(b.graph, *fused)) {
      b.fused.push_back({std::move(match), {}, {}});
    }
  }
  std::sort(b.fused.begin(), b.fused.end(), goes_first);
}

void choose_fusions(Registry& registry, Blueprint& b, std::uint32_t kv_forms) {
  Chooser decode(registry, b, kv_forms, true);
  Chooser prefill(registry, b, kv_forms, false);
  for (FusedNode& fused : b.fused) {
    decode.choose(fused, fused.decode);
    prefill.choose(fused, fused.prefill);
  }
  b.decode_order = decode.order();
  b.prefill_order = prefill.order();
}

}  // namespace rt
