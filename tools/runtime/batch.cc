// `runtime generate --prompts FILE.jsonl --parallel B`: many prompts as ragged batches. A finished
// prompt's place is taken by the next one at once; what all prompts begin with is computed once and
// shared where the planner can (core/engine/batch.h). One JSON line per prompt, in the order in
// which they finish, each with the index of its line.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <vector>

#include "core/base/bytes.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/text.h"
#include "core/engine/admission.h"
#include "core/engine/batch.h"
#include "core/engine/batch_admission.h"
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

class BatchRun {
 public:
  explicit BatchRun(Settings& settings) : settings_(settings) {}

  Result<ExitCode> run() {
    RT_TRY(const auto trace, TraceFile::open(settings_));
    RT_TRY(model_, draw_model(settings_, Need::kWeights));
    RT_TRY(prompts_, read_prompts(settings_, model_));
    sampling_ = sampling_of(settings_);
    const std::vector<GenerateRequest> requests = this->requests();
    has_open_ = std::any_of(requests.begin(), requests.end(),
                            [](const GenerateRequest& one) { return !one.max_new_tokens; });
    model_.options.max_sequences = static_cast<std::uint32_t>(settings_.integer("parallel"));
    RT_TRY(model_.blueprint, admit_batch(*model_.registry, model_.options, requests));
    RT_RETURN_IF_ERROR(load_model(model_, settings_));
    trace->watch(*model_.session);
    if (!settings_.seed() && sampling_.temperature > 0) {
      log_info("seed " + std::to_string(sampling_.seed));
    }
    Batch batch(*model_.session, model_.tokenizer(), requests);
    const AnswerScope scope;
    while (!interrupted() && !batch.finished()) {
      RT_TRY(const auto ended, batch.advance());
      for (const auto& request : ended) {
        RT_RETURN_IF_ERROR(write_json(line(*request)));
        warn_of_full_context(*request);
      }
    }
    if (settings_.flag("stats")) {
      RT_TRY(const std::string stats, this->stats());
      std::fprintf(stderr, "%s\n", stats.c_str());
    }
    RT_RETURN_IF_ERROR(trace->close());
    return interrupted() ? kInterruptedExit : 0;
  }

 private:
  std::vector<GenerateRequest> requests() const {
    std::vector<GenerateRequest> requests;
    for (const BatchPrompt& prompt : prompts_) {
      GenerateRequest& request = requests.emplace_back();
      request.prompt = prompt.ids;
      const Budget budget = budget_of(settings_, model_, prompt.ids.size());
      request.max_new_tokens = prompt.max_new_tokens;
      if (!request.max_new_tokens && budget.hard) request.max_new_tokens = budget.new_tokens;
      request.sampling = sampling_;
      request.sampling.seed = prompt.seed.value_or(sampling_.seed);
      request.end_tokens = model_.end_tokens;
      request.ignore_end = settings_.flag("ignore_eos");
      request.stop = settings_.list("stop");
    }
    return requests;
  }

  // As of a single prompt.
  void warn_of_full_context(const Batch::Request& request) const {
    const std::uint64_t context = model_.session->context_tokens();
    const bool full = request.sequence->ids().size() >= context;
    if (!full || request.generation.finish() != Finish::kLength) return;
    log_warning("index " + std::to_string(request.index) +
                ": the answer stops here: the context is full (" + std::to_string(context) +
                " tokens)");
  }

  Json line(const Batch::Request& request) const {
    const Generation& generation = request.generation;
    Json json = Json::object();
    json["index"] = request.index;
    json["prompt_ids"] = prompts_[request.index].ids;
    json["ids"] = generation.ids();
    json["text"] = generation.text();
    json["finish_reason"] = finish_name(generation.finish());
    json["seed"] = request.sequence->sampling.seed;
    json["shared_tokens"] = request.shared_tokens;
    json["timings"] = timings_json(generation.timings());
    return json;
  }

  // Planned: the most that any order of starts and ends takes; of open answers the first token
  // alone was looked at, and they grow as far as the limit allows.
  Result<std::string> stats() const {
    const Session& session = *model_.session;
    RT_TRY(const Demand planned, demand_of(session.blueprint()));
    return "[ load " + text_of_seconds(model_.load_ms) + " | " + std::to_string(prompts_.size()) +
           " prompts, " + std::to_string(planned.at_once) + " at once | shared prefix " +
           std::to_string(session.blueprint().options.shared_tokens) + " tok | KV peak " +
           format_bytes(session.ledger().peak()[MemoryKind::kKv]) +
           (has_open_ ? ", admitted with " : ", planned at most ") +
           format_bytes(planned.peak[MemoryKind::kKv]) + " ]";
  }

  static std::string text_of_seconds(double ms) {
    char text[32];
    std::snprintf(text, sizeof text, "%.1f s", ms / 1000);
    return text;
  }

  Settings& settings_;
  LoadedModel model_;
  std::vector<BatchPrompt> prompts_;
  Sampling sampling_;
  bool has_open_ = false;  // an answer whose length nobody has declared
};

}  // namespace

Result<ExitCode> run_batch(Settings& settings) {
  for (const char* key : {"prompt", "file", "prompt_ids", "logits", "echo"}) {
    if (settings.given(key)) {
      return bad_input("--prompts runs many prompts; " + settings.origin(key) +
                       " belongs to a single one");
    }
  }
  return BatchRun(settings).run();
}

}  // namespace rt
