// `runtime perplexity`: how well the model predicts a text, in bits per byte.
//
// The text is read in windows of --ctx-size tokens, each --stride tokens after the one before.
// Every token but the first (BOS, where the tokenizer has one) is scored once, in the first window
// that holds it, so all but the first window's see at least window - stride tokens before them.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>

#include "core/base/json.h"
#include "core/base/text.h"
#include "tools/runtime/interrupt.h"
#include "tools/runtime/output.h"
#include "tools/runtime/progress_bar.h"
#include "tools/runtime/prompt.h"
#include "tools/runtime/verbs.h"

namespace rt {
namespace {

using Clock = std::chrono::steady_clock;

// The file as it stands: bits are divided by its bytes, the last newline's too.
Result<std::string> whole_text(const Settings& settings) {
  const std::string file = settings.text("file");
  if (file.empty() && isatty(STDIN_FILENO) == 1) {
    return bad_input("which text? give --file FILE, or text on stdin");
  }
  RT_TRY(std::string text, file.empty() || file == "-" ? read_stdin() : read_input(file));
  if (text.empty()) return bad_input((file.empty() ? "stdin" : file) + ": the text is empty");
  return text;
}

// -log2 of the probability that `logits` f32[V] give to `id`.
double bits_of(const float* logits, std::uint64_t vocabulary, std::int32_t id) {
  const double largest = *std::max_element(logits, logits + vocabulary);
  double sum = 0;
  for (std::uint64_t i = 0; i < vocabulary; ++i) sum += std::exp(logits[i] - largest);
  return (std::log(sum) + largest - logits[id]) / std::log(2.0);
}

class Measurement {
 public:
  explicit Measurement(Settings& settings) : settings_(settings) {}

  Result<ExitCode> run() {
    RT_RETURN_IF_ERROR(prepare());
    const AnswerScope scope;
    begin_ = Clock::now();
    while (scored_ < ids_.size() && !interrupted()) RT_RETURN_IF_ERROR(score_window());
    if (drawn_) std::fputs("\r\x1b[K", stderr);
    if (interrupted()) return kInterruptedExit;
    if (!std::isfinite(bits_)) {
      return internal(
          "the logits are not finite: is the checkpoint sound, the KV type too coarse?");
    }
    RT_RETURN_IF_ERROR(show(seconds()));
    return 0;
  }

 private:
  Status prepare() {
    RT_TRY(const std::string text, whole_text(settings_));
    bytes_ = text.size();
    RT_TRY(model_, draw_model(settings_, Need::kWeights));
    if (model_.tokenizer() == nullptr) {
      return bad_input(
          (model_.folder.empty() ? "random weights" : model_.folder) +
          ": there is no tokenizer (tokenizer.json or tokenizer.model) to read the text "
          "with; --weights random:DIR takes that of DIR");
    }
    RT_TRY(ids_, encode_prompt(model_, text));
    if (ids_.size() < 2) return bad_input("the text: expected at least two tokens, found one");
    RT_RETURN_IF_ERROR(choose_windows());
    model_.options.all_rows = true;
    model_.options.context_tokens = window_;
    RT_RETURN_IF_ERROR(open_model(model_, settings_, {window_ - 1, 0, false}));
    model_.session->keep_logits(true);
    RT_TRY(sequence_, model_.session->start(window_));
    sequence_->sampling.temperature = 0;  // what is sampled is not looked at
    return {};
  }

  Status choose_windows() {
    window_ = model_.blueprint->bounds.context_tokens;
    if (window_ < 2) return bad_input("--ctx-size: expected at least 2 tokens, found 1");
    stride_ = settings_.count("stride").value_or(0);
    if (stride_ == 0) stride_ = window_ / 2;
    if (stride_ < window_) return {};
    return bad_input("--stride: expected less than the window of " + std::to_string(window_) +
                     " tokens (--ctx-size), found " + std::to_string(stride_));
  }

  // One window: the tokens that were scored before are context, the rest is scored.
  Status score_window() {
    const std::uint64_t all = ids_.size();
    const std::uint64_t last_begin = all > window_ ? all - window_ : 0;
    const std::uint64_t seen = window_ - stride_;
    const std::uint64_t begin =
        scored_ == 1 ? 0 : std::min(scored_ > seen ? scored_ - seen : 0, last_begin);
    const std::uint64_t end = std::min(begin + window_, all);
    RT_RETURN_IF_ERROR(sequence_->truncate(0));
    sequence_->all_rows = false;
    push(begin, scored_ - 1);
    RT_RETURN_IF_ERROR(step(begin, false));
    sequence_->all_rows = true;
    push(scored_ - 1, end - 1);
    RT_RETURN_IF_ERROR(step(begin, true));
    return {};
  }

  void push(std::uint64_t begin, std::uint64_t end) {
    sequence_->push(std::span(ids_).subspan(begin, end - begin));
  }

  // Steps until nothing is pending. A row at a position of the window predicts the next token.
  Status step(std::uint64_t begin, bool score) {
    Sequence* const one[] = {sequence_.get()};
    while (sequence_->pending() > 0 && !interrupted()) {
      RT_TRY(const auto rows, model_.session->step(one));
      for (std::size_t i = 0; score && i < rows.size(); ++i) {
        const std::int32_t id = ids_[begin + rows[i].position + 1];
        bits_ += bits_of(rows[i].logits, model_.session->graph().vocabulary(), id);
      }
      if (score) scored_ += rows.size();
      show_progress();
    }
    return {};
  }

  double bits_per_byte() const {
    // Of a part of the text: as if its tokens had the bytes of the average.
    const double part = static_cast<double>(scored_) / static_cast<double>(ids_.size());
    return bits_ / (static_cast<double>(bytes_) * part);
  }

  void show_progress() {
    if (!progress_wanted(settings_)) return;
    // The first token is not scored; a line is not read more often than every 50 ms.
    const double part = static_cast<double>(scored_ - 1) / static_cast<double>(ids_.size() - 1);
    if (part == 0 || seconds() < shown_at_ + 0.05) return;
    shown_at_ = seconds();
    drawn_ = true;
    std::fprintf(stderr, "\r\x1b[Kscored %llu of %zu tokens, %.4f bits per byte, %.0f s left",
                 static_cast<unsigned long long>(scored_), ids_.size(), bits_per_byte(),
                 shown_at_ * (1 - part) / part);
  }

  double seconds() const { return std::chrono::duration<double>(Clock::now() - begin_).count(); }

  Status show(double elapsed) const {
    const double tokens = static_cast<double>(ids_.size() - 1);
    const double perplexity = std::exp2(bits_ / tokens);
    if (settings_.flag("json")) {
      Json json = Json::object();
      json["bits_per_byte"] = bits_per_byte();
      json["perplexity"] = perplexity;
      json["bits"] = bits_;
      json["bytes"] = bytes_;
      json["scored_tokens"] = ids_.size() - 1;
      json["window"] = window_;
      json["stride"] = stride_;
      json["kv_dtype"] = dtype_name(model_.session->blueprint().kv_dtype);
      json["seconds"] = elapsed;
      return write_json(json);
    }
    char text[256];
    std::snprintf(text, sizeof text,
                  "bits per byte  %.4f\nperplexity     %.4f per token\n"
                  "scored         %.0f tokens of %llu bytes, windows of %llu, stride %llu, KV %s\n"
                  "time           %.1f s\n",
                  bits_per_byte(), perplexity, tokens, static_cast<unsigned long long>(bytes_),
                  static_cast<unsigned long long>(window_),
                  static_cast<unsigned long long>(stride_),
                  dtype_name(model_.session->blueprint().kv_dtype).c_str(), elapsed);
    return write_out(text);
  }

  Settings& settings_;
  LoadedModel model_;
  std::unique_ptr<Sequence> sequence_;
  std::vector<std::int32_t> ids_;
  std::uint64_t bytes_ = 0;
  std::uint64_t window_ = 0;
  std::uint64_t stride_ = 0;
  std::uint64_t scored_ = 1;  // tokens [0, scored_) are done; the first has nothing before it
  double bits_ = 0;
  Clock::time_point begin_;
  double shown_at_ = 0;  // seconds after begin_
  bool drawn_ = false;
};

}  // namespace

Result<ExitCode> run_perplexity(Settings& settings) {
  return Measurement(settings).run();
}

}  // namespace rt
