// `runtime render`: messages (JSON on stdin, -p or -f) to the prompt that chat makes of them.
#include <filesystem>

#include "core/base/json.h"
#include "core/base/text.h"
#include "core/engine/model.h"
#include "core/graph/document.h"
#include "core/text/chat_format.h"
#include "core/text/tokenizer.h"
#include "tools/runtime/loaded_model.h"
#include "tools/runtime/messages.h"
#include "tools/runtime/output.h"
#include "tools/runtime/places.h"
#include "tools/runtime/prompt.h"
#include "tools/runtime/verbs.h"

namespace rt {
namespace {

// With --json the ids too, if the model's tokenizer is on this machine.
Status add_ids(const Settings& settings, std::span<const TextSegment> segments, Json& json) {
  RT_TRY(const ModelPlace place, find_model(settings, Need::kPlan));
  if (place.folder.empty()) return {};
  RT_TRY(const auto tokenizer, Tokenizer::load(place.folder));
  RT_TRY(json["ids"], encode_chat(*tokenizer, segments));
  return {};
}

}  // namespace

Result<ExitCode> run_render(Settings& settings) {
  if (settings.text("graph").empty()) {
    return bad_input("whose chat format? give --graph FILE or --graph NAME (phi3)");
  }
  RT_TRY(const std::string path, find_graph(settings.text("graph")));
  RT_TRY(const GraphDocument document, read_graph(path));
  if (!document.chat) return bad_input(path + ": this graph declares no chat format");
  RT_TRY(const auto text, read_text(settings, "expected messages as JSON, found nothing"));
  if (!text) return bad_input("which messages? give them as JSON on stdin or with --file");
  RT_TRY(const auto messages, parse_messages(*text, "messages"));
  const ChatFormat format = chat_format(*document.chat);
  RT_TRY(const auto segments,
         render_chat(format, messages, !settings.flag("no_generation_prompt")));
  for (const ChatMessage& message : messages) {
    if (message.role == Role::kSystem) warn_of_dropped_system(format, message.content);
  }
  if (!settings.flag("json")) {
    RT_RETURN_IF_ERROR(write_out(render_text(segments)));
    return 0;
  }
  Json json = Json::object();
  json["prompt"] = render_text(segments);
  RT_RETURN_IF_ERROR(add_ids(settings, segments, json));
  RT_RETURN_IF_ERROR(write_json(json));
  return 0;
}

}  // namespace rt
