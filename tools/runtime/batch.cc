// `runtime generate --prompts FILE.jsonl --parallel B`: many prompts as ragged batches. A finished
// prompt's place is taken by the next one at once. One JSON line per prompt, in the order in which
// they finish, each with the index of its line.
#include <cstdio>
#include <memory>
#include <vector>

#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/text.h"
#include "core/engine/generate.h"
#include "tools/runtime/batch_prompts.h"
#include "tools/runtime/deployment.h"
#include "tools/runtime/interrupt.h"
#include "tools/runtime/output.h"
#include "tools/runtime/prompt.h"
#include "tools/runtime/stats.h"
#include "tools/runtime/trace_file.h"
#include "tools/runtime/verbs.h"

namespace rt {
namespace {

// A prompt that is running. The sequence gives its memory back when the answer is out.
struct Running {
  std::size_t index;
  std::unique_ptr<Sequence> sequence;
  Generation generation;
};

class Batch {
 public:
  explicit Batch(Settings& settings) : settings_(settings) {}

  Result<ExitCode> run() {
    RT_TRY(const auto trace, TraceFile::open(settings_));
    RT_TRY(model_, draw_model(settings_, Need::kWeights));
    RT_TRY(prompts_, read_prompts(settings_, model_));
    Budget budget = budget_of(settings_, model_, longest());
    const auto parallel = static_cast<std::size_t>(settings_.integer("parallel"));
    budget.sequences = static_cast<std::uint32_t>(std::min(parallel, prompts_.size()));
    RT_RETURN_IF_ERROR(open_model(model_, settings_, budget));
    trace->watch(*model_.session);
    sampling_ = sampling_of(settings_);
    if (settings_.integer("sampling.seed") < 0 && sampling_.temperature > 0) {
      log_info("seed " + std::to_string(sampling_.seed));
    }
    const AnswerScope scope;
    while (!interrupted() && (next_ < prompts_.size() || !running_.empty())) {
      RT_RETURN_IF_ERROR(fill());
      RT_RETURN_IF_ERROR(step());
      RT_RETURN_IF_ERROR(take_finished());
    }
    RT_RETURN_IF_ERROR(trace->close());
    return interrupted() ? kInterruptedExit : 0;
  }

 private:
  std::uint64_t longest() const {
    std::uint64_t most = 0;
    for (const BatchPrompt& prompt : prompts_)
      most = std::max<std::uint64_t>(most, prompt.ids.size());
    return most;
  }

  Status fill() {
    while (next_ < prompts_.size() &&
           running_.size() < model_.session->blueprint().bounds.sequences) {
      const BatchPrompt& prompt = prompts_[next_];
      RT_TRY(auto sequence, model_.session->start());
      GenerateRequest request;
      request.prompt = prompt.ids;
      request.max_new_tokens =
          prompt.max_new_tokens ? prompt.max_new_tokens : settings_.count("max_new_tokens");
      request.sampling = sampling_;
      request.sampling.seed = prompt.seed.value_or(sampling_.seed);
      request.end_tokens = model_.end_tokens;
      request.ignore_end = settings_.flag("ignore_eos");
      request.stop = settings_.list("stop");
      auto generation = Generation::begin(*sequence, model_.tokenizer(), std::move(request),
                                          model_.session->context_tokens());
      if (!generation.ok()) {
        return in("prompt " + std::to_string(next_), std::move(generation).error());
      }
      running_.push_back(
          std::make_unique<Running>(Running{next_, std::move(sequence), std::move(*generation)}));
      ++next_;
    }
    return {};
  }

  Status step() {
    std::vector<Generation*> generations;
    for (const auto& running : running_) generations.push_back(&running->generation);
    return rt::advance(*model_.session, std::span<Generation* const>(generations));
  }

  Status take_finished() {
    for (std::size_t i = 0; i < running_.size();) {
      const Running& running = *running_[i];
      if (!running.generation.finished()) {
        ++i;
        continue;
      }
      RT_RETURN_IF_ERROR(write_json(line(running)));
      running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(i));
    }
    return {};
  }

  Json line(const Running& running) const {
    const Generation& generation = running.generation;
    Json json = Json::object();
    json["index"] = running.index;
    json["prompt_ids"] = prompts_[running.index].ids;
    json["ids"] = generation.ids();
    json["text"] = generation.text();
    json["finish_reason"] = finish_name(generation.finish());
    json["seed"] = running.sequence->sampling.seed;
    json["timings"] = timings_json(generation.timings());
    return json;
  }

  Settings& settings_;
  LoadedModel model_;
  std::vector<BatchPrompt> prompts_;
  Sampling sampling_;
  std::size_t next_ = 0;
  std::vector<std::unique_ptr<Running>> running_;
};

}  // namespace

Result<ExitCode> run_batch(Settings& settings) {
  for (const char* key : {"prompt", "file", "prompt_ids", "logits"}) {
    if (settings.given(key)) {
      return bad_input("--prompts runs many prompts; " + settings.origin(key) +
                       " belongs to a single one");
    }
  }
  return Batch(settings).run();
}

}  // namespace rt
