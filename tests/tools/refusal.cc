#include "tests/tools/refusal.h"

#include <gtest/gtest.h>

#include "tests/tools/command.h"

namespace rt::test {
namespace {

std::vector<std::string> words_of(const Refusal& refusal) {
  const std::vector<std::string> model = refusal.model == Model::kFixture ? fixture_model()
                                         : refusal.model == Model::kDemo
                                             ? demo_model()
                                             : std::vector<std::string>();
  return arguments(refusal.verb, model, refusal.rest);
}

}  // namespace

void expect_refused(const Refusal& refusal) {
  CommandInput input;
  input.arguments = words_of(refusal);
  const TemporaryFolder folder;
  for (std::size_t i = 1; i < input.arguments.size(); ++i) {
    const std::string text = input.arguments[i];
    if (input.arguments[i - 1] != "--turns" || text.find_first_of("[{") != 0) continue;
    input.arguments[i] = folder.write("turns.yaml", text);
  }
  input.stdin_text = refusal.stdin_text;
  if (*refusal.variable != '\0') input.variables = {refusal.variable};
  const CommandResult result = run_command(input);
  EXPECT_EQ(result.exit_code, refusal.exit_code) << result.err;
  EXPECT_NE(result.err.find(refusal.says), std::string::npos) << result.err;
  EXPECT_NE(result.err.find("runtime: error: "), std::string::npos) << result.err;
  EXPECT_EQ(result.out, "");
}

}  // namespace rt::test
