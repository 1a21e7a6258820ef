#include "tools/runtime/conversation.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>

#include "core/base/json.h"
#include "core/base/log.h"
#include "core/engine/admission.h"
#include "tools/runtime/deployment.h"
#include "tools/runtime/interrupt.h"
#include "tools/runtime/messages.h"
#include "tools/runtime/output.h"
#include "tools/runtime/prompt.h"
#include "tools/runtime/stats.h"

namespace rt {
Result<std::unique_ptr<Conversation>> Conversation::open(Settings& settings) {
  std::unique_ptr<Conversation> out(new Conversation(settings));
  LoadedModel& model = out->model_;
  RT_TRY(out->trace_, TraceFile::open(settings));
  RT_TRY(model, draw_model(settings, Need::kWeights));
  if (!model.text) {
    return bad_input((model.folder.empty() ? "random weights" : model.folder) +
                     ": there is no tokenizer (tokenizer.json or tokenizer.model), so there is no "
                     "chat; `runtime generate --prompt-ids` takes token ids");
  }
  // -n bounds an answer, not the conversation: only a stated context is a budget here.
  Budget budget;
  budget.hard = settings.count("context").value_or(0) > 0;
  budget.new_tokens = budget.hard ? model.blueprint->bounds.context_tokens : 0;
  RT_RETURN_IF_ERROR(open_model(model, settings, budget));
  ChatOptions options;
  options.sampling = sampling_of(settings);
  options.system = settings.text("system");
  warn_of_dropped_system(model.text->chat, options.system);
  out->trace_->watch(*model.session);
  RT_TRY(out->chat_, Chat::start(*model.session, *model.text, std::move(options)));
  out->take_settings();
  return out;
}

void Conversation::take_settings() {
  ChatOptions& options = chat_->options();
  const std::uint64_t seed = options.sampling.seed;
  options.sampling = sampling_of(settings_);
  if (!settings_.seed()) options.sampling.seed = seed;
  options.max_new_tokens = settings_.count("max_new_tokens");
  options.stop = settings_.list("stop");
  options.ignore_end = settings_.flag("ignore_eos");
}

// Runs one turn: draw(emit) is Chat::ask or Chat::regenerate.
template <class Draw>
Status Conversation::show(Draw draw) {
  const AnswerScope scope;
  Status written;
  const bool json = settings_.flag("json");
  bool shown = false;
  const auto emit = [&](std::string_view text) {
    if (written.ok() && !json) written = write_out(text);
    shown = shown || !text.empty();
    return written.ok() && !interrupted();
  };
  auto answer = draw(emit);
  interrupted_ = interrupted();
  if (!answer.ok()) {
    // What a refused turn had computed was in the cache before it was taken back.
    if (chat_->refused()) note_turn(*chat_->refused());
    note_rewind();
    if (shown && !json) (void)write_out("\n");  // the error has a line of its own
    return std::move(answer).error();
  }
  if (written.ok() && !json) written = write_out("\n");
  report(*answer);
  if (!json) return written;
  RT_TRY(const Json result, result_json(*answer));
  return write_json(result);
}

// As `runtime generate` has it.
Result<Json> Conversation::result_json(const ChatAnswer& answer) const {
  Json json = Json::object();
  json["model"] = model_.session->graph().name;
  json["text"] = answer.text;
  json["finish_reason"] = finish_name(answer.finish);
  json["seed"] = chat_->options().sampling.seed;
  json["timings"] = timings_json(answer.timings);
  json["timings"]["load_ms"] = model_.load_ms;
  RT_TRY(json["memory"], memory_json(*model_.session, turns_));
  return json;
}

void Conversation::note_turn(const ChatAnswer& answer) {
  turns_.push_back(turn_of(answer.timings, answer.held_tokens, answer.cached_tokens,
                           chat_->options().max_new_tokens, chat_->context_tokens()));
}

void Conversation::report(const ChatAnswer& answer) {
  const Sequence& sequence = chat_->sequence();
  note_turn(answer);
  stats_ = stats_line(model_, sequence, answer.timings, turns_, chat_->options().sampling.seed);
  const bool terminal = isatty(STDERR_FILENO) == 1 && !settings_.flag("quiet");
  if (terminal || settings_.flag("stats")) std::fprintf(stderr, "%s\n", stats_.c_str());
  if (answer.finish == Finish::kLength && sequence.ids().size() >= chat_->context_tokens()) {
    log_warning("the context is full (" + std::to_string(chat_->context_tokens()) +
                " tokens): /undo or /clear" + larger_context(model_.session->blueprint()));
  }
  if (answer.finish == Finish::kMemory) {
    log_warning(
        "the answer stops here: the memory limit is reached; /clear, or raise "
        "--memory-limit");
  }
}

Status Conversation::ask(const std::string& message) {
  return show([&](const Chat::Emit& emit) { return chat_->ask(message, emit); });
}

Status Conversation::regenerate() {
  return show([&](const Chat::Emit& emit) { return chat_->regenerate(emit); });
}

// What is kept, and what of it is computed with the next question.
void Conversation::note_rewind() {
  KvTurn turn;
  turn.keep = chat_->sequence().cached();
  turn.prompt_tokens = chat_->sequence().pending();
  turn.declared = false;
  turns_.push_back(turn);
}

Result<bool> Conversation::undo() {
  RT_TRY(const bool undone, chat_->undo());
  note_rewind();
  return undone;
}

Status Conversation::clear() {
  RT_RETURN_IF_ERROR(chat_->clear());
  note_rewind();
  return {};
}

Status Conversation::set_system(const std::string& system) {
  RT_RETURN_IF_ERROR(chat_->set_system(system));
  warn_of_dropped_system(model_.text->chat, system);
  note_rewind();
  return {};
}

Status Conversation::save(const std::string& path) const {
  Json json = Json::object();
  json["model"] = model_.session->graph().name;
  json["system"] = chat_->options().system;
  json["messages"] = messages_json(chat_->messages());
  std::ofstream file(path, std::ios::binary);
  file << json.dump(2, ' ', false, Json::error_handler_t::replace) << "\n";
  file.close();
  if (file.good()) return {};
  return environment(path + ": " + std::strerror(errno));
}

Status Conversation::load(const std::string& path) {
  RT_TRY(const std::string text, read_input(path));
  RT_TRY(std::vector<ChatMessage> messages, parse_messages(text, path));
  std::string system = chat_->options().system;
  RT_TRY(const Json json, parse_json(text, path));
  if (json.is_object() && json.contains("system")) {
    if (!json["system"].is_string()) return bad_input(path + ": system: expected a string");
    system = json["system"].get<std::string>();
  }
  if (!messages.empty() && messages.front().role == Role::kSystem) {
    system = messages.front().content;
    messages.erase(messages.begin());
  }
  const bool other_system = system != chat_->options().system;
  Status restored = chat_->restore(system, messages);
  note_rewind();
  if (!restored.ok()) return in(path, std::move(restored).error());
  if (other_system) warn_of_dropped_system(model_.text->chat, system);
  return {};
}

}  // namespace rt
