// A chat with what surrounds it on a terminal: answers on stdout as they come, Ctrl-C, the stats
// line, the settings that /set changes.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/base/json_fwd.h"
#include "core/engine/chat.h"
#include "tools/runtime/deployment.h"
#include "tools/runtime/loaded_model.h"
#include "tools/runtime/memory_report.h"
#include "tools/runtime/settings.h"
#include "tools/runtime/trace_file.h"

namespace rt {

class Conversation {
 public:
  // Loads the model. Both outlive the conversation.
  static Result<std::unique_ptr<Conversation>> open(Settings& settings);

  // Errors of a turn (a message that does not fit) leave the conversation as it was. With --json
  // the answer is an object, when it is complete.
  Status ask(const std::string& message);
  Status regenerate();
  Result<bool> undo();
  Status clear();
  Status set_system(const std::string& system);
  Status save(const std::string& path) const;
  Status load(const std::string& path);

  // Takes the present settings for the answers to come; the seed only if it was set.
  void take_settings();
  // Another one at random.
  void draw_seed() { chat_->options().sampling.seed = sampling_of(settings_).seed; }

  // The ledger beside the plan for this very conversation.
  Result<std::string> memory() const { return memory_text(*model_.session, turns_); }
  // Ends --trace; no answer comes after it.
  Status close_trace() { return trace_->close(); }

  // Of the last answer; "" if there is none.
  const std::string& stats() const { return stats_; }
  bool last_was_interrupted() const { return interrupted_; }
  const Chat& chat() const { return *chat_; }
  const LoadedModel& model() const { return model_; }
  Settings& settings() { return settings_; }
  std::size_t message_count() const { return chat_->messages().size(); }
  const std::string& system() const { return chat_->options().system; }

 private:
  explicit Conversation(Settings& settings) : settings_(settings) {}
  template <class Draw>
  Status show(Draw draw);
  void report(const ChatAnswer& answer);
  Result<Json> result_json(const ChatAnswer& answer) const;
  void note_turn(const ChatAnswer& answer);
  void note_rewind();

  Settings& settings_;
  LoadedModel model_;
  std::unique_ptr<TraceFile> trace_;
  std::unique_ptr<Chat> chat_;
  std::vector<KvTurn> turns_;  // what was asked of the KV cache so far
  std::string stats_;
  bool interrupted_ = false;
};

}  // namespace rt
