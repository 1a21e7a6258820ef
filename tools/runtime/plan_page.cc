#include "tools/runtime/plan_page.h"

#include <algorithm>

#include "core/base/bytes.h"
#include "core/base/json.h"
#include "core/base/text.h"
#include "core/graph/emit.h"
#include "tools/runtime/memory_chart.h"
#include "tools/runtime/memory_report.h"
#include "tools/runtime/text_table.h"

namespace rt {
namespace {

std::string turns_text(const PlanPage& page) {
  const Blueprint& b = *page.blueprint;
  std::string text;
  if (!page.declared) {
    text = "a conversation that fills the context";
  } else if (page.turns.size() == 1) {
    text = std::to_string(page.turns[0].prompt_tokens) + " prompt + " +
           std::to_string(page.turns[0].new_tokens) + " new tokens";
  } else {
    text = std::to_string(page.turns.size()) + " turns, " + std::to_string(page.tokens()) +
           " tokens in all";
  }
  const std::size_t many = b.options.batch.size();
  if (many > 0) text = std::to_string(many) + " at once, each " + text;
  return text + ", context " + std::to_string(b.bounds.context_tokens);
}

std::string limit_text(const Blueprint& b) {
  if (b.limit_bytes == UINT64_MAX) return "none";
  return format_bytes(b.limit_bytes) +
         (b.options.memory_limit_bytes != 0 ? " (--memory-limit)" : " (available)");
}

std::string fixed_text(const Blueprint& b) {
  const MemoryBytes fixed = b.fixed_memory();
  std::vector<TableRow> rows;
  for (std::size_t i = 0; i < kMemoryKindCount; ++i) {
    const auto kind = static_cast<MemoryKind>(i);
    if (kind == MemoryKind::kKv) continue;
    rows.push_back({std::string(memory_kind_name(kind)), format_bytes(fixed[kind])});
  }
  return text_table(rows) + "  limit on all but weights_mapped: " + limit_text(b) + "\n";
}

TableRow planner_row(const PlannerOutlook& one, std::uint64_t context) {
  const std::uint64_t most = one.largest_tokens;
  return {one.planner + (one.configured ? " *" : ""),
          format_bytes(one.kv.reserved_bytes),
          format_bytes(one.kv.standing_bytes),
          format_bytes(one.kv.peak_bytes),
          format_bytes(one.charged),
          format_bytes(one.total_peak()),
          format_bytes(one.load_peak.owned()),
          format_bytes(one.kv.copied_bytes),
          std::to_string(one.kv.address_changes),
          std::to_string(most) + (most == context ? " (all)" : ""),
          one.fits ? "yes" : "no"};
}

std::string planners_text(const PlanPage& page) {
  std::vector<TableRow> rows{{"planner", "reserved", "standing", "peak", "extras", "in all",
                              "load peak", "copied", "moves", "largest", "fits"}};
  std::string refused;
  std::string extras;
  for (const PlannerOutlook& one : page.planners) {
    if (!one.refusal.empty()) {
      refused += "  " + one.planner + " cannot serve: " + one.refusal + "\n";
      continue;
    }
    rows.push_back(planner_row(one, page.blueprint->bounds.context_tokens));
    if (one.shared_tokens > 0) {
      extras += "  " + one.planner + " shares " + std::to_string(one.shared_tokens) +
                " tokens of all prompts\n";
    }
    for (const KvCharge& charge : one.charges) {
      extras +=
          "  " + one.planner + " adds " + charge.name + ": " + format_bytes(charge.bytes) + "\n";
    }
  }
  return text_table(rows) + extras + refused +
         "  * configured. reserved: addresses. standing, peak: the KV cache at " +
         std::to_string(page.length()) +
         " tokens and on the way there.\n"
         "  in all: the peak with everything, mapped weights too. moves: address changes. largest: "
         "tokens that fit.\n";
}

Json points(const std::vector<KvPoint>& curve) {
  Json list = Json::array();
  for (const KvPoint& point : curve) {
    Json row = Json::object();
    row["tokens"] = point.length;
    row["standing"] = point.standing_bytes;
    row["peak"] = point.peak_bytes;
    list.push_back(std::move(row));
  }
  return list;
}

Json planner_json(const PlannerOutlook& one) {
  Json json = Json::object();
  json["name"] = one.planner;
  json["configured"] = one.configured;
  json["refusal"] = one.refusal.empty() ? Json(nullptr) : Json(one.refusal);
  if (!one.refusal.empty()) return json;
  json["standing"] = memory_bytes_json(one.standing);
  json["highest"] = memory_bytes_json(one.peak);
  json["load_peak"] = one.load_peak.owned();
  json["reserved"] = one.kv.reserved_bytes;
  json["ready"] = one.kv.ready_bytes;
  json["copied_bytes"] = one.kv.copied_bytes;
  json["address_changes"] = one.kv.address_changes;
  json["commits"] = one.kv.commits;
  json["decommits"] = one.kv.decommits;
  json["reprefill_tokens"] = one.kv.reprefill_tokens;
  Json charges = Json::object();
  for (const KvCharge& charge : one.charges) charges[charge.name] = charge.bytes;
  json["charges"] = std::move(charges);
  json["charged"] = one.charged;
  json["total"] = one.total_peak();
  json["largest_tokens"] = one.largest_tokens;
  json["shared_tokens"] = one.shared_tokens;
  json["fits"] = one.fits;
  json["turns"] = points(one.kv.turns);
  json["curve"] = points(one.kv.curve);
  json["explanation"] = one.explanation;
  return json;
}

// The blueprint's, and what no column says: that the machine is too small for mapped weights. Of
// the first planner that serves: the configured one.
std::vector<std::string> notes_of(const PlanPage& page) {
  std::vector<std::string> notes = page.blueprint->notes;
  const auto serves = [](const PlannerOutlook& one) { return one.refusal.empty(); };
  const auto first = std::find_if(page.planners.begin(), page.planners.end(), serves);
  const std::uint64_t owned = first == page.planners.end() ? page.blueprint->fixed_memory().owned()
                                                           : first->peak.owned() + first->charged;
  if (std::string note = paging_note(*page.blueprint, owned); !note.empty()) {
    notes.push_back(std::move(note));
  }
  return notes;
}

}  // namespace

std::uint64_t PlanPage::length() const {
  return tokens() - std::min<std::uint64_t>(1, tokens());
}

std::uint64_t PlanPage::tokens() const {
  std::uint64_t sum = 0;
  for (const KvTurn& turn : turns) sum += turn.prompt_tokens + turn.new_tokens;
  return sum;
}

std::string plan_text(const PlanPage& page) {
  const Blueprint& b = *page.blueprint;
  std::string text = summary_line(b.graph) + "\n";
  const bool described = b.options.described_device != nullptr;
  text += "device " +
          (described ? std::string(b.desc.name) + " (described in " +
                           b.options.described_device->path() + ")"
                     : b.device.full_name) +
          ", KV cache " + dtype_name(b.kv_dtype) + ", steps of at most " +
          std::to_string(b.bounds.tokens) + " tokens\n" + turns_text(page) + "\n\n" +
          fixed_text(b) + "\n";
  if (!page.planners.empty()) text += planners_text(page);
  for (const PlannerOutlook& one : page.planners) {
    if (one.explanation.empty()) continue;
    text += "  " + one.planner + ": " + join(one.explanation, "; ") + "\n";
  }
  for (const std::string& note : notes_of(page)) text += "note: " + note + "\n";
  return text;
}

Json plan_json(const PlanPage& page) {
  const Blueprint& b = *page.blueprint;
  Json json = Json::object();
  json["model"] = b.graph.name;
  json["assumed"] = b.graph.assumed;
  json["device"] =
      b.options.described_device != nullptr ? std::string(b.desc.name) : b.device.full_name;
  json["kv_dtype"] = dtype_name(b.kv_dtype);
  json["context"] = b.bounds.context_tokens;
  json["step_tokens"] = b.bounds.tokens;
  json["declared"] = page.declared;
  Json turns = Json::array();
  for (const KvTurn& turn : page.turns) {
    turns.push_back(Json::array({turn.prompt_tokens, turn.new_tokens}));
  }
  json["turns"] = std::move(turns);
  json["tokens"] = page.tokens();
  json["parallel"] = std::max<std::size_t>(1, b.options.batch.size());
  json["limit"] = b.limit_bytes == UINT64_MAX ? Json(nullptr) : Json(b.limit_bytes);
  json["fixed"] = memory_bytes_json(b.fixed_memory());
  json["planners"] = Json::array();
  for (const PlannerOutlook& one : page.planners) json["planners"].push_back(planner_json(one));
  json["notes"] = notes_of(page);
  return json;
}

std::string plan_svg(const PlanPage& page) {
  const Blueprint& b = *page.blueprint;
  MemoryChart chart;
  chart.title = "KV cache memory of " + b.graph.name;
  chart.subtitle = turns_text(page) + ", KV cache " + dtype_name(b.kv_dtype) +
                   (b.graph.assumed ? ", sizes assumed" : "");
  for (const PlannerOutlook& one : page.planners) {
    if (!one.refusal.empty()) continue;
    ChartLine line{one.planner + " " + format_bytes(one.kv.standing_bytes + one.charged), {}};
    for (const KvPoint& point : one.kv.curve) {
      // What the first step needs stands before its first token.
      const bool first = line.points.empty();
      if (first && point.standing_bytes == 0) continue;
      line.points.push_back(
          {first ? 0 : point.computed_tokens, point.standing_bytes + one.charged});
    }
    chart.lines.push_back(std::move(line));
  }
  return to_svg(chart);
}

}  // namespace rt
