// `runtime plugins check` finds each mistake of a stranger's file, and `show` prints a contract.
#include <gtest/gtest.h>

#include <string>

#include "core/base/json.h"
#include "tests/tools/command.h"

namespace rt::test {
namespace {

std::string stranger(const std::string& name) {
  return RT_BINARY_DIR "/tests/strangers/" + name + ".rtp.so";
}
std::string broken_case(const std::string& name) {
  return RT_PLUGIN_CASES "/" + name + ".rtp.so";
}

void expect_check(const std::string& file, int exit_code, const std::string& says) {
  const CommandResult result = run_command({"plugins", "check", file});
  EXPECT_EQ(result.exit_code, exit_code) << result.out << result.err;
  EXPECT_NE(result.out.find(says), std::string::npos) << result.out << result.err;
}

TEST(PluginsCheck, TakesWhatIsRight) {
  expect_check(stranger("zed_none"), 0,
               "rms_norm  zed_none/mine  cpu  ok, 216 cases, 36 refused: supports: expected less "
               "than 1031 columns\n");
  expect_check(stranger("acme_fused"), 0, "no table of cases: checked only that it opens");
}

TEST(PluginsCheck, FindsEachMistake) {
  expect_check(stranger("zed_wrong"), 2, " plus_one' (decode): against the reference: output 0");
  expect_check(stranger("zed_beyond"), 2, "memory: a write beyond an output");
  expect_check(stranger("zed_crash"), 2,
               "crashed with SIGSEGV in case 'rms_norm T1 D31 f32' (decode)\n");
  expect_check(stranger("zed_falling"), 2, "at 301 tokens, with room for 0 falls from 320 to 301");
}

TEST(PluginsCheck, RefusesWhatCannotBeOpened) {
  expect_check(broken_case("no_entry"), 2, "refused: ");
  expect_check(broken_case("undefined_symbol"), 2, ", which nothing defines");
  expect_check("/nowhere/x.rtp.so", 2, "No such file");
  EXPECT_EQ(run_command({"plugins", "check"}).exit_code, 2);
}

TEST(PluginsCheck, GoesOnBehindWhatHangs) {
  const CommandResult result = run_command(
      {"plugins", "check", broken_case("hang_in_planner"), stranger("zed_none"), "--json"});
  EXPECT_EQ(result.exit_code, 2) << result.err;
  const auto json = parse_json(result.out, "out");
  ASSERT_TRUE(json.ok()) << result.out;
  const Json& hung = (*json)[0]["parts"][0];
  EXPECT_EQ(hung["state"], "failed") << hung.dump();
  EXPECT_EQ(hung["failure"]["complaints"][0], "gave no answer within 10000 ms") << hung.dump();
  EXPECT_EQ((*json)[1]["state"], "ok") << (*json)[1].dump();
  EXPECT_EQ((*json)[1]["parts"][0]["cases"], 216);
}

TEST(PluginsList, OpensWhatIsNamed) {
  for (const char* name : {"no_entry", "undefined_symbol"}) {
    const CommandResult list = run_command({"plugins", "list", "--plugin", broken_case(name)});
    EXPECT_EQ(list.exit_code, 2) << list.out;
    EXPECT_NE(list.out.find("[refused, named by the user]"), std::string::npos) << list.out;
  }
  EXPECT_EQ(run_command({"plugins", "list", "--plugin", stranger("zed_none")}).exit_code, 0);
}

TEST(PluginsWhy, SaysThatATierCountsForLess) {
  const CommandResult why = run_command(arguments(
      "plugins", fixture_model(),
      {"why", "--node", "layer.0.rms_norm*", "--plugin", stranger("zed_none"), "--json"}));
  EXPECT_NE(why.out.find("tier 300 counts as 200 outside the install prefix"), std::string::npos)
      << why.out << why.err;
}

TEST(PluginsShow, PrintsContracts) {
  const CommandResult all = run_command({"plugins", "show"});
  EXPECT_EQ(all.exit_code, 0) << all.err;
  EXPECT_NE(all.out.find("rms_norm@1 "), std::string::npos) << all.out;
  EXPECT_NE(all.out.find("implemented by reference, rms_norm_cpu"), std::string::npos) << all.out;
  const CommandResult one = run_command({"plugins", "show", "rms_norm"});
  for (const char* part : {"rms_norm@1, declared by reference ", "\n  weight  weight  [D]  ",
                           "  eps  ", "a number from 0 to 1  required", "tolerance: 1e-06 + 1e-05",
                           "rms_norm_cpu/portable  cpu"}) {
    EXPECT_NE(one.out.find(part), std::string::npos) << part << "\n" << one.out;
  }
  const auto json =
      parse_json(run_command({"plugins", "show", "linear_add@1", "--json"}).out, "out");
  ASSERT_TRUE(json.ok());
  EXPECT_EQ((*json)["inputs"][1]["kind"], "weight");
  EXPECT_NE((*json)["pattern"].get<std::string>().find("op: linear"), std::string::npos);
}

TEST(PluginsShow, SaysWhatWasMeant) {
  const CommandResult result = run_command({"plugins", "show", "rms_nrm"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_NE(result.err.find("did you mean 'rms_norm'?"), std::string::npos) << result.err;
}

}  // namespace
}  // namespace rt::test
