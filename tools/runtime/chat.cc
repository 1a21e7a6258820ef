// `runtime chat`: the REPL, or with -p or -f one question and one answer.
#include <unistd.h>

#include "core/base/log.h"
#include "tools/runtime/conversation.h"
#include "tools/runtime/interrupt.h"
#include "tools/runtime/prompt.h"
#include "tools/runtime/repl.h"
#include "tools/runtime/verbs.h"

namespace rt {

Result<ExitCode> run_chat(Settings& settings) {
  std::optional<std::string> question;
  if (settings.given("prompt") || settings.given("file")) {
    RT_TRY(question, read_text(settings, "the question is empty"));
  }
  if (settings.flag("json") && !question) {
    return bad_input("--json: one question and one answer; give the question with -p or -f");
  }
  RT_TRY(const auto conversation, Conversation::open(settings));
  if (question) {
    RT_RETURN_IF_ERROR(conversation->ask(*question));
    RT_RETURN_IF_ERROR(conversation->close_trace());
    return conversation->last_was_interrupted() ? kInterruptedExit : 0;
  }
  MessageReader reader(!settings.flag("no_history"));
  RT_TRY(const ExitCode code, Repl(*conversation, reader).run());
  RT_RETURN_IF_ERROR(conversation->close_trace());
  return code;
}

}  // namespace rt
