// `runtime plan`: what a conversation takes under every planner. Reads no weight and needs no
// checkpoint.
#include <algorithm>

#include "core/base/json.h"
#include "core/base/text.h"
#include "tools/runtime/loaded_model.h"
#include "tools/runtime/output.h"
#include "tools/runtime/output_file.h"
#include "tools/runtime/plan_page.h"
#include "tools/runtime/turns_file.h"
#include "tools/runtime/verbs.h"

namespace rt {
namespace {

// A config's `parallel` is for --prompts; a plan is of one request unless it is asked for more.
bool several(const Settings& settings) {
  return settings.level("parallel") >= Level::kEnvironment;
}

// The conversation that is planned for: --turns, one declared request, or the whole context.
Result<std::vector<KvTurn>> turns_of(const Settings& settings, const Blueprint& b) {
  if (settings.given("turns")) {
    if (several(settings)) {
      return bad_input(
          "--turns is one conversation; --parallel takes --prompt-tokens and --new-tokens");
    }
    if (settings.given("prompt_tokens") || settings.given("new_tokens")) {
      return bad_input("give either --turns or --prompt-tokens and --new-tokens");
    }
    return read_turns(settings.text("turns"), b.bounds.context_tokens);
  }
  const std::uint64_t context = b.bounds.context_tokens;
  KvTurn turn;
  const bool stated = b.options.prompt_tokens + b.options.new_tokens > 0;
  turn.declared = b.options.new_tokens > 0;
  turn.prompt_tokens = std::max<std::uint64_t>(1, b.options.prompt_tokens);
  turn.new_tokens = stated ? std::max<std::uint64_t>(1, b.options.new_tokens) : context - 1;
  if (turn.prompt_tokens > context || turn.new_tokens > context - turn.prompt_tokens) {
    return bad_input("--prompt-tokens " + std::to_string(turn.prompt_tokens) +
                     " and --new-tokens " + std::to_string(turn.new_tokens) +
                     " pass the context of " + std::to_string(context) + " tokens");
  }
  return std::vector<KvTurn>{turn};
}

// --parallel: so many requests like the turn at once.
Status set_batch(const Settings& settings, const KvTurn& turn, Blueprint& b) {
  if (!several(settings)) {
    if (!settings.given("shared_tokens")) return {};
    return bad_input("--shared-tokens are those of several prompts; give --parallel B too");
  }
  const std::uint64_t shared = settings.count("shared_tokens").value_or(0);
  if (shared > 0 && !settings.given("prompt_tokens")) {
    return bad_input("--shared-tokens are those of longer prompts; give --prompt-tokens N too");
  }
  if (shared >= turn.prompt_tokens && shared > 0) {
    return bad_input("--shared-tokens " + std::to_string(shared) + ": expected less than the " +
                     std::to_string(turn.prompt_tokens) + " tokens of a prompt");
  }
  b.options.batch.assign(b.options.max_sequences,
                         {turn.prompt_tokens, turn.prompt_tokens + turn.new_tokens, turn.declared});
  return {};
}

// --planner on the command line or in the environment asks for one; a config's is marked among all.
std::vector<std::string> planners_of(const Settings& settings) {
  const bool one = settings.level("planner.name") >= Level::kEnvironment;
  if (!one || settings.text("planner.name") == kAllPlanners) return {};
  return {settings.text("planner.name")};
}

}  // namespace

Result<ExitCode> run_plan(Settings& settings) {
  RT_TRY(const LoadedModel model, draw_model(settings, Need::kPlan));
  PlanPage page;
  page.blueprint = model.blueprint.get();
  RT_TRY(page.turns, turns_of(settings, *model.blueprint));
  page.declared =
      settings.given("turns") || settings.given("prompt_tokens") || settings.given("new_tokens");
  RT_RETURN_IF_ERROR(set_batch(settings, page.turns.front(), *model.blueprint));
  RT_TRY(page.planners,
         look_ahead(*model.registry, *model.blueprint, page.turns, planners_of(settings),
                    settings.count("shared_tokens").value_or(0)));
  RT_TRY(OutputFile chart, OutputFile::open("--svg", settings.text("svg")));
  if (chart.wanted()) RT_RETURN_IF_ERROR(chart.write(plan_svg(page)));
  RT_RETURN_IF_ERROR(chart.close());
  if (settings.flag("json")) {
    RT_RETURN_IF_ERROR(write_json(plan_json(page)));
  } else {
    RT_RETURN_IF_ERROR(write_out(plan_text(page)));
  }
  return 0;
}

}  // namespace rt
