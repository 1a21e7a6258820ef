// What the command can do; each returns the exit code's Error, or success.
#pragma once

#include "core/base/result.h"
#include "tools/runtime/arguments.h"
#include "tools/runtime/settings.h"

namespace rt {

// The exit code of a run that went well; 130 where the user stopped it.
using ExitCode = int;

Result<ExitCode> run_generate(Settings& settings);
Result<ExitCode> run_batch(Settings& settings);  // generate --prompts
Result<ExitCode> run_chat(Settings& settings);
Result<ExitCode> run_plan(Settings& settings);
Result<ExitCode> run_bench(Settings& settings);
Result<ExitCode> run_perplexity(Settings& settings);
Result<ExitCode> run_quantize(Settings& settings);
Result<ExitCode> run_tokenize(const Arguments& arguments, Settings& settings);
Result<ExitCode> run_render(Settings& settings);
Result<ExitCode> run_plugins(const Arguments& arguments, Settings& settings);
Result<ExitCode> run_graph(const Arguments& arguments, Settings& settings);

}  // namespace rt
