#include "tools/runtime/verbs.h"
namespace rt {
Result<ExitCode> run_chat(Settings&) {
  return bad_input("todo");
}
}  // namespace rt
