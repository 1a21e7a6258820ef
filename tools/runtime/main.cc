// The command `runtime`: arguments to settings to a verb; Errors to a line on stderr and an exit
// code: 0, 2 bad input, 3 environment, 70 internal, 130 interrupted. Start reading at verbs.h.
#include <locale.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <new>

#include "core/base/call_site.h"
#include "core/base/log.h"
#include "tools/runtime/arguments.h"
#include "tools/runtime/deployment.h"
#include "tools/runtime/interrupt.h"
#include "tools/runtime/loaded_model.h"
#include "tools/runtime/output.h"
#include "tools/runtime/verbs.h"

namespace rt {
namespace {

void start_log(const Settings& settings) {
  const char* no_color = std::getenv("NO_COLOR");
  const bool color = !settings.flag("no_color") && (no_color == nullptr || *no_color == '\0');
  rt::start_log(settings.flag("quiet")     ? Verbosity::kQuiet
                : settings.flag("verbose") ? Verbosity::kVerbose
                                           : Verbosity::kNormal,
                color);
}

// Without a verb: a prompt of any kind, or a stdin that is no terminal, is to be continued.
Verb choose_verb(const Arguments& arguments, const Settings& settings) {
  if (arguments.verb_given) return arguments.verb;
  for (const char* key : {"prompt", "file", "prompt_ids", "prompts"}) {
    if (settings.given(key)) return Verb::kGenerate;
  }
  return isatty(STDIN_FILENO) == 1 ? Verb::kChat : Verb::kGenerate;
}

// Without a verb the flags of two are taken: one of the other verb would be ignored.
Status check_flags_of(Verb verb, const Arguments& arguments) {
  for (const Arguments::Assignment& one : arguments.assignments) {
    if ((one.setting->verbs & verb_bit(verb)) != 0) continue;
    const bool chat = verb == Verb::kGenerate;  // it is a flag of the other one
    return bad_input(one.flag + " is a flag of a " +
                     (chat ? "chat; begin with its verb: runtime chat -p ..."
                           : "generation, and without a prompt a terminal chats; begin with its "
                             "verb: runtime generate ..."));
  }
  return {};
}

Result<ExitCode> print_config(const Arguments& arguments, Settings& settings) {
  if (settings.given("graph")) {
    RT_TRY(const ModelPlace place, find_model(settings, Need::kPlan));
    if (!place.folder.empty()) RT_RETURN_IF_ERROR(add_generation_config(place.folder, settings));
  }
  RT_RETURN_IF_ERROR(write_out(settings.print(arguments.verbs())));
  return 0;
}

Result<ExitCode> dispatch(const Arguments& arguments, Settings& settings) {
  if (settings.flag("print_config")) return print_config(arguments, settings);
  const Verb verb = choose_verb(arguments, settings);
  RT_RETURN_IF_ERROR(check_flags_of(verb, arguments));
  switch (verb) {
    case Verb::kGenerate:
      return run_generate(settings);
    case Verb::kChat:
      return run_chat(settings);
    case Verb::kPlan:
      return run_plan(settings);
    case Verb::kPerplexity:
      return run_perplexity(settings);
    case Verb::kBench:
      return run_bench(settings);
    case Verb::kQuantize:
      return run_quantize(settings);
    case Verb::kTokenize:
      return run_tokenize(arguments, settings);
    case Verb::kRender:
      return run_render(settings);
    case Verb::kPlugins:
      return run_plugins(arguments, settings);
    case Verb::kGraph:
      return run_graph(arguments, settings);
  }
  return 0;
}

Result<ExitCode> run(int argc, const char* const* argv) {
  rt::start_log(Verbosity::kNormal);
  RT_TRY(const Arguments arguments, parse_arguments(argc, argv));
  if (!arguments.answer.empty()) {
    RT_RETURN_IF_ERROR(write_out(arguments.answer));
    return 0;
  }
  RT_TRY(Settings settings, load_settings(arguments));
  start_log(settings);
  for (const std::string& text : misspelled_variables()) {
    log_warning("the environment: nothing reads " + text);
  }
  return dispatch(arguments, settings);
}

int report(const Error& error) {
  if (reader_gone()) return static_cast<int>(error.fault);
  std::fprintf(stderr, "runtime: error: %s\n", error.message.c_str());
  return static_cast<int>(error.fault);
}

}  // namespace
}  // namespace rt

int main(int argc, char** argv) {
  setlocale(LC_CTYPE, "C.UTF-8");  // widths of characters; numbers stay in the C locale
  rt::report_crashes();
  rt::install_signals();
  try {
    const rt::Result<rt::ExitCode> result = rt::run(argc, argv);
    return result.ok() ? *result : rt::report(result.error());
  } catch (const std::bad_alloc&) {
    return rt::report(rt::environment("out of memory"));
  } catch (const std::exception& error) {
    return rt::report(rt::internal(error.what()));
  }
}
