#include "tools/runtime/verbs.h"
namespace rt {
Result<ExitCode> run_batch(Settings&) { return bad_input("todo"); }
Result<ExitCode> run_chat(Settings& ) { return bad_input("todo"); }
Result<ExitCode> run_plan(Settings& ) { return bad_input("todo"); }
Result<ExitCode> run_tokenize(const Arguments& , Settings& ) { return bad_input("todo"); }
Result<ExitCode> run_render(Settings& ) { return bad_input("todo"); }
Result<ExitCode> run_plugins(const Arguments& , Settings& ) { return bad_input("todo"); }
Result<ExitCode> run_graph(const Arguments& , Settings& ) { return bad_input("todo"); }
}  // namespace rt
