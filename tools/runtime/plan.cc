// `runtime plan`: what the model takes, by class, for the configured planner. Reads no weight and
// needs no checkpoint.
#include <algorithm>

#include "core/base/bytes.h"
#include "core/base/json.h"
#include "core/base/text.h"
#include "core/graph/emit.h"
#include "core/graph/graph.h"
#include "tools/runtime/loaded_model.h"
#include "tools/runtime/output.h"
#include "tools/runtime/stats.h"
#include "tools/runtime/verbs.h"

namespace rt {
namespace {

// What is planned for: a declared request, else the whole context.
struct Plan {
  std::uint64_t tokens = 0;
  std::uint64_t budget = 0;  // 0: open
  MemoryBytes standing;
  MemoryBytes peak;
};

Result<Plan> make_plan(const Blueprint& b) {
  Plan plan;
  const std::uint64_t context = b.bounds.context_tokens;
  const std::uint64_t declared = b.options.prompt_tokens + b.options.new_tokens;
  plan.tokens = declared == 0 ? context : std::min(declared, context);
  plan.budget = b.options.hard_budget ? plan.tokens : 0;
  RT_TRY(plan.standing, b.memory(plan.tokens, plan.budget, false));
  RT_TRY(plan.peak, b.memory(plan.tokens, plan.budget, true));
  return plan;
}

std::uint64_t total(const MemoryBytes& bytes) {
  return bytes.owned() + bytes[MemoryKind::kWeightsMapped];
}

std::string row(const std::string& name, std::uint64_t standing, std::uint64_t peak) {
  std::string line = "  " + name;
  line.resize(22, ' ');
  std::string first = format_bytes(standing);
  first.insert(0, first.size() < 10 ? 10 - first.size() : 0, ' ');
  std::string second = format_bytes(peak);
  second.insert(0, second.size() < 10 ? 10 - second.size() : 0, ' ');
  return line + first + "  " + second + "\n";
}

std::string plan_text(const Blueprint& b, const Plan& plan) {
  std::string text = summary_line(b.graph) + "\n";
  text += "device " + b.device.full_name + ", planner " +
          (b.kv ? b.kv->planner_name() : std::string("none")) + ", KV cache " +
          dtype_name(b.kv_dtype) + ", step " + std::to_string(b.bounds.tokens) + " tokens\n\n";
  text += "for " + std::to_string(plan.tokens) + " of " + std::to_string(b.bounds.context_tokens) +
          " tokens";
  text += plan.budget > 0 ? " (declared)\n" : " (open budget)\n";
  std::string head = "                        standing     highest\n";
  text += head;
  for (std::size_t i = 0; i < kMemoryKindCount; ++i) {
    const auto kind = static_cast<MemoryKind>(i);
    text += row(std::string(memory_kind_name(kind)), plan.standing[kind], plan.peak[kind]);
  }
  text += row("total", total(plan.standing), total(plan.peak));
  text += row("without mapped files", plan.standing.owned(), plan.peak.owned());
  if (b.limit_bytes != UINT64_MAX) {
    const bool fits = plan.peak.owned() <= b.limit_bytes;
    text += std::string(fits ? "fits in " : "does not fit in ") + format_bytes(b.limit_bytes) +
            (b.options.memory_limit_bytes != 0 ? " (memory limit)\n" : " (available)\n");
  }
  if (b.kv && !b.kv->explanation().empty()) {
    text += "\n" + join(b.kv->explanation(), "\n") + "\n";
  }
  for (const std::string& note : b.notes) text += "note: " + note + "\n";
  return text;
}

Json plan_json(const Blueprint& b, const Plan& plan) {
  Json json = Json::object();
  json["model"] = b.graph.name;
  json["assumed"] = b.graph.assumed;
  json["device"] = b.device.full_name;
  json["planner"] = b.kv ? Json(b.kv->planner_name()) : Json(nullptr);
  json["kv_dtype"] = dtype_name(b.kv_dtype);
  json["context"] = b.bounds.context_tokens;
  json["tokens"] = plan.tokens;
  json["declared"] = plan.budget > 0;
  json["standing"] = memory_bytes_json(plan.standing);
  json["highest"] = memory_bytes_json(plan.peak);
  json["limit"] = b.limit_bytes == UINT64_MAX ? Json(nullptr) : Json(b.limit_bytes);
  json["fits"] = plan.peak.owned() <= b.limit_bytes;
  json["notes"] = b.notes;
  return json;
}

}  // namespace

Result<ExitCode> run_plan(Settings& settings) {
  RT_TRY(const LoadedModel model, draw_model(settings, Need::kPlan));
  const Blueprint& b = *model.blueprint;
  RT_TRY(const Plan plan, make_plan(b));
  if (settings.flag("json")) {
    RT_RETURN_IF_ERROR(write_json(plan_json(b, plan)));
  } else {
    RT_RETURN_IF_ERROR(write_out(plan_text(b, plan)));
  }
  return 0;
}

}  // namespace rt
