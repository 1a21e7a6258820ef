// `runtime graph check|expand|dot [FILE]`: what a graph file means, for the checkpoint if there is
// one, else for the published model's sizes.
#include "core/base/json.h"
#include "core/graph/emit.h"

#include "core/base/log.h"
#include "core/base/text.h"
#include "tools/runtime/loaded_model.h"
#include "tools/runtime/output.h"
#include "tools/runtime/verbs.h"

namespace rt {
namespace {

Status check(const Settings& settings, const Blueprint& b) {
  if (settings.flag("json")) {
    Json json = Json::object();
    json["model"] = b.graph.name;
    json["assumed"] = b.graph.assumed;
    json["nodes"] = b.graph.nodes.size();
    json["weights"] = b.graph.weights.size();
    json["parameters"] = parameter_count(b.graph);
    json["context"] = b.graph.context_tokens;
    json["checkpoint"] = b.checkpoint ? Json(b.checkpoint->folder()) : Json(nullptr);
    return write_json(json);
  }
  const std::string bound = b.checkpoint ? "every weight found in " + b.checkpoint->folder()
                                         : std::string("no checkpoint looked at");
  return write_out(summary_line(b.graph) + "\nok: " + bound + "\n");
}

}  // namespace

Result<ExitCode> run_graph(const Arguments& arguments, Settings& settings) {
  const std::vector<std::string> actions{"check", "expand", "dot"};
  const std::string action = arguments.words.empty() ? "" : arguments.words[0];
  if (arguments.words.size() > 2) {
    return bad_input("graph: expected one FILE, found " + quote(arguments.words[1]) + " and " +
                     quote(arguments.words[2]));
  }
  if (action != "check" && action != "expand" && action != "dot") {
    return bad_input("graph: expected check, expand or dot and a FILE, found " +
                     quote(join(arguments.words, " ")) + did_you_mean(action, actions));
  }
  if (action != "check" && settings.flag("json")) {
    return bad_input("graph " + action + ": it prints " +
                     (action == "expand" ? "YAML" : "the language of Graphviz") +
                     "; --json is for `graph check`");
  }
  if (arguments.words.size() == 2 && settings.level("graph") == Level::kCommandLine) {
    return bad_input("graph: give either --graph or FILE, not both");
  }
  if (arguments.words.size() == 2) {
    RT_RETURN_IF_ERROR(
        settings.assign(*find_setting("graph"), {arguments.words[1]}, "FILE", Level::kCommandLine));
  }
  RT_TRY(const LoadedModel model, draw_model(settings, Need::kPlan));
  const Blueprint& b = *model.blueprint;
  if (action == "check") {
    for (const std::string& note : b.notes) log_info(note);
    RT_RETURN_IF_ERROR(check(settings, b));
  } else {
    RT_RETURN_IF_ERROR(write_out(action == "expand" ? to_yaml(b.graph) : to_dot(b.graph)));
  }
  return 0;
}

}  // namespace rt
