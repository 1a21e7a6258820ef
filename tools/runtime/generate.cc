// `runtime generate`: continues one prompt, as it is, on stdout.
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <memory>
#include <string_view>

#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/text.h"
#include "core/engine/generate.h"
#include "tools/runtime/deployment.h"
#include "tools/runtime/interrupt.h"
#include "tools/runtime/memory_report.h"
#include "tools/runtime/output.h"
#include "tools/runtime/output_file.h"
#include "tools/runtime/prompt.h"
#include "tools/runtime/stats.h"
#include "tools/runtime/trace_file.h"
#include "tools/runtime/verbs.h"

namespace rt {
namespace {

// --logits FILE: f32[generated, V], little-endian.
std::string_view row_bytes(const float* logits, std::uint64_t vocabulary) {
  return {reinterpret_cast<const char*>(logits), vocabulary * sizeof(float)};
}

class Run {
 public:
  explicit Run(Settings& settings) : settings_(settings) {}

  Result<ExitCode> run() {
    RT_RETURN_IF_ERROR(check_graph_given(settings_));
    RT_RETURN_IF_ERROR(read_prompt());
    RT_RETURN_IF_ERROR(check_outputs());
    RT_TRY(logits_, OutputFile::open("--logits", settings_.text("logits")));
    RT_TRY(trace_, TraceFile::open(settings_));
    RT_TRY(model_, draw_model(settings_, Need::kWeights));
    RT_RETURN_IF_ERROR(find_ids());
    budget_ = budget_of(settings_, model_, ids_.size());
    RT_RETURN_IF_ERROR(open_model(model_, settings_, budget_));
    trace_->watch(*model_.session);
    RT_TRY(const auto sequence, model_.session->start());
    RT_TRY(Generation generation, begin(*sequence));
    RT_RETURN_IF_ERROR(answer(generation));
    RT_RETURN_IF_ERROR(trace_->close());
    RT_RETURN_IF_ERROR(report(generation, *sequence));
    return generation.finish() == Finish::kCancelled ? kInterruptedExit : 0;
  }

 private:
  Status read_prompt() {
    if (settings_.given("prompt_ids")) {
      if (settings_.given("prompt") || settings_.given("file")) {
        return bad_input("give either --prompt-ids or --prompt or --file");
      }
      return {};
    }
    RT_TRY(text_, read_text(settings_,
                            "the prompt is empty; give some text, or --prompt \"\" to start from "
                            "nothing"));
    if (!text_) return bad_input("what to continue? give --prompt, --file or text on stdin");
    return {};
  }

  Status check_outputs() const {
    namespace fs = std::filesystem;
    std::error_code code;
    const fs::path logits = fs::weakly_canonical(settings_.text("logits"), code);
    const fs::path trace = fs::weakly_canonical(settings_.text("trace"), code);
    if (logits.empty() || logits != trace || fs::is_character_file(logits, code)) return {};
    return bad_input("--logits and --trace name the same file, " + quote(logits.string()));
  }

  Status find_ids() {
    if (text_) {
      RT_TRY(ids_, encode_prompt(model_, *text_));
      return {};
    }
    RT_TRY(ids_, parse_ids(settings_.text("prompt_ids"), "--prompt-ids",
                           model_.blueprint->graph.vocabulary()));
    return {};
  }

  // What was admitted as a hard budget is declared: by -n, or by --ctx-size the rest of it.
  std::optional<std::uint64_t> most_new() const {
    if (!budget_.hard) return std::nullopt;
    return budget_.new_tokens;
  }

  Result<Generation> begin(Sequence& sequence) {
    GenerateRequest request;
    request.prompt = ids_;
    request.max_new_tokens = most_new();
    request.sampling = sampling_of(settings_);
    request.end_tokens = model_.end_tokens;
    request.ignore_end = settings_.flag("ignore_eos");
    request.stop = settings_.list("stop");
    seed_ = request.sampling.seed;
    model_.session->keep_logits(logits_.wanted());
    return Generation::begin(sequence, model_.tokenizer(), std::move(request), *model_.session);
  }

  Status answer(Generation& generation) {
    const bool stream = !settings_.flag("json");
    if (stream && settings_.flag("echo") && text_) RT_RETURN_IF_ERROR(write_out(*text_));
    const AnswerScope scope;
    Generation* const one[] = {&generation};
    std::size_t seen = 0;
    while (!generation.finished()) {
      RT_RETURN_IF_ERROR(advance(*model_.session, one));
      const bool fresh = generation.ids().size() > seen;
      if (fresh && logits_.wanted()) {
        RT_RETURN_IF_ERROR(
            logits_.write(row_bytes(generation.logits(), model_.session->graph().vocabulary())));
      }
      seen = generation.ids().size();
      if (interrupted()) generation.cancel();
      if (stream && fresh) RT_RETURN_IF_ERROR(show(generation));
    }
    if (stream) RT_RETURN_IF_ERROR(show(generation));
    if (stream) RT_RETURN_IF_ERROR(write_out("\n"));
    return logits_.close();
  }

  // New text, or without a tokenizer the new ids.
  Status show(Generation& generation) {
    if (model_.tokenizer() != nullptr) return write_out(generation.take_text());
    std::string text;
    for (; shown_ids_ < generation.ids().size(); ++shown_ids_) {
      text += (shown_ids_ == 0 ? "" : " ") + std::to_string(generation.ids()[shown_ids_]);
    }
    return write_out(text);
  }

  Status report(const Generation& generation, const Sequence& sequence) {
    const KvTurn turn = turn_of(generation.timings(), 0, sequence.cached(), most_new(),
                                model_.session->context_tokens());
    if (settings_.flag("json")) {
      RT_TRY(const Json json, result_json(generation, turn));
      RT_RETURN_IF_ERROR(write_json(json));
    }
    const bool terminal = isatty(STDERR_FILENO) == 1 && !settings_.flag("quiet");
    if (terminal || settings_.flag("stats")) {
      std::fprintf(stderr, "%s\n",
                   stats_line(model_, sequence, generation.timings(), {&turn, 1}, seed_).c_str());
    } else if (!settings_.seed() && sequence.sampling.temperature > 0) {
      log_info("seed " + std::to_string(seed_));
    }
    const std::uint64_t context = model_.session->context_tokens();
    if (generation.finish() == Finish::kLength && sequence.ids().size() >= context) {
      log_warning("the answer stops here: the context is full (" + std::to_string(context) +
                  " tokens)");
    }
    if (generation.finish() == Finish::kMemory) {
      log_warning("the answer stops here: the memory limit is reached");
    }
    return {};
  }

  Result<Json> result_json(const Generation& generation, const KvTurn& turn) {
    Json json = Json::object();
    json["model"] = model_.session->graph().name;
    json["prompt_ids"] = ids_;
    json["ids"] = generation.ids();
    json["text"] = generation.text();
    json["finish_reason"] = finish_name(generation.finish());
    json["seed"] = seed_;
    json["timings"] = timings_json(generation.timings());
    json["timings"]["load_ms"] = model_.load_ms;
    RT_TRY(json["memory"], memory_json(*model_.session, {&turn, 1}));
    return json;
  }

  Settings& settings_;
  OutputFile logits_;
  std::unique_ptr<TraceFile> trace_;
  LoadedModel model_;
  std::optional<std::string> text_;
  std::vector<std::int32_t> ids_;
  Budget budget_;
  std::uint64_t seed_ = 0;
  std::size_t shown_ids_ = 0;
};

}  // namespace

Result<ExitCode> run_generate(Settings& settings) {
  if (settings.given("prompts")) return run_batch(settings);
  if (settings.level("parallel") == Level::kCommandLine) {
    return bad_input("--parallel is of many prompts; give them with --prompts FILE.jsonl");
  }
  return Run(settings).run();
}

}  // namespace rt
