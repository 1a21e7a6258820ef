// A model on its way from a name to a session: the graph and the place of its weights are found,
// the blueprint is drawn, the tokenizer is loaded; then, once the prompt's length is known, it is
// admitted and the weights are loaded.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/engine/blueprint.h"
#include "core/engine/model.h"
#include "core/engine/session.h"
#include "tools/runtime/settings.h"

namespace rt {

struct LoadedModel {
  std::unique_ptr<Registry> registry;
  EngineOptions options;
  std::string folder;                    // of weights and tokenizer; "" if there is none
  std::unique_ptr<Blueprint> blueprint;  // until open_model() moves it into the session
  std::optional<ModelText> text;         // absent: no tokenizer, token ids only
  std::vector<std::int32_t> end_tokens;
  std::unique_ptr<Session> session;
  double load_ms = 0;

  const Tokenizer* tokenizer() const { return text ? text->tokenizer.get() : nullptr; }
};

enum class Need {
  kWeights,  // refuses where there are none
  kPlan,     // does with the published model's sizes
};

// Up to the blueprint and the tokenizer (kWeights only). Takes the sampling values of the
// checkpoint's generation_config.json into `settings`.
Result<LoadedModel> draw_model(Settings& settings, Need need);

// What a request will need at most. `hard`: the user stated it.
struct Budget {
  std::uint64_t prompt_tokens = 0;
  std::uint64_t new_tokens = 0;
  bool hard = false;
};

// The budget of one prompt under -n and --ctx-size.
Budget budget_of(const Settings& settings, const LoadedModel& model, std::uint64_t prompt_tokens);

// Draws again with the budget, admits, and loads.
Status open_model(LoadedModel& model, const Settings& settings, const Budget& budget);

// Loads what model.blueprint says, which has been admitted, with a progress bar.
Status load_model(LoadedModel& model, const Settings& settings);

// The graph named by --graph and the folder of its weights. `folder` is "" where none is found and
// `needed` is false.
struct ModelPlace {
  std::string graph;
  WeightSource source = WeightSource::kNoWeights;
  std::string folder;
};
// Refuses where no graph is named: asked before anything is read.
Status check_graph_given(const Settings& settings);
Result<ModelPlace> find_model(const Settings& settings, Need need);

}  // namespace rt
