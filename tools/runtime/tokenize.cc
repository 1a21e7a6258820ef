// `runtime tokenize`: text to token ids and back. Needs a tokenizer and no weights.
#include "core/base/json.h"
#include "core/base/text.h"
#include "core/memory/model_location.h"
#include "core/text/tokenizer.h"
#include "tools/runtime/loaded_model.h"
#include "tools/runtime/output.h"
#include "tools/runtime/places.h"
#include "tools/runtime/prompt.h"
#include "tools/runtime/verbs.h"

namespace rt {
namespace {

// The folder (or tokenizer file) of --weights, or where the graph's weights are.
Result<std::string> tokenizer_path(const Settings& settings) {
  if (!settings.text("weights").empty()) return find_model_folder(settings.text("weights"));
  if (settings.text("graph").empty()) {
    return bad_input("whose tokens? give --weights DIR, or --graph NAME to look for its weights");
  }
  RT_TRY(const ModelPlace place, find_model(settings, Need::kWeights));
  return place.folder;
}

// The words of the command line, else -p, -f or stdin.
Result<std::string> input_text(const Arguments& arguments, const Settings& settings) {
  const bool asked = settings.given("prompt") || settings.given("file");
  if (!arguments.words.empty() && asked) {
    return bad_input("tokenize: give either TEXT or --prompt or --file, not both");
  }
  if (!arguments.words.empty()) return join(arguments.words, " ");
  RT_TRY(const auto text, read_text(settings, "the text is empty"));
  if (!text) return bad_input("what to tokenize? give TEXT, --file or text on stdin");
  return *text;
}

Status show_ids(const Settings& settings, const Tokenizer& tokenizer,
                const std::vector<std::int32_t>& ids) {
  if (settings.flag("json")) {
    Json json = Json::object();
    json["ids"] = ids;
    json["tokens"] = Json::array();
    for (const std::int32_t id : ids) json["tokens"].push_back(tokenizer.token(id));
    return write_json(json);
  }
  std::string line;
  for (const std::int32_t id : ids) line += (line.empty() ? "" : " ") + std::to_string(id);
  return write_out(line + "\n");
}

Status show_text(const Settings& settings, const std::string& text) {
  if (!settings.flag("json")) return write_out(text + "\n");
  Json json = Json::object();
  json["text"] = text;
  return write_json(json);
}

}  // namespace

Result<ExitCode> run_tokenize(const Arguments& arguments, Settings& settings) {
  RT_TRY(const std::string path, tokenizer_path(settings));
  RT_TRY(const auto tokenizer, Tokenizer::load(path));
  RT_TRY(const std::string text, input_text(arguments, settings));
  const bool special = !settings.flag("no_special");
  if (settings.flag("detokenize")) {
    const auto size = static_cast<std::uint64_t>(tokenizer->vocab_size());
    RT_TRY(const auto ids, parse_ids(text, "--detokenize", size));
    RT_RETURN_IF_ERROR(show_text(settings, tokenizer->decode(ids, !special)));
    return 0;
  }
  RT_TRY(const auto ids, tokenizer->encode(text, {special, settings.flag("parse_special"), false}));
  RT_RETURN_IF_ERROR(show_ids(settings, *tokenizer, ids));
  return 0;
}

}  // namespace rt
