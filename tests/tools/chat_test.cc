// `chat` with lines on stdin: each line a message or a command; answers on stdout.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "core/base/json.h"
#include "tests/tools/command.h"

namespace rt::test {
namespace {

CommandResult chat(const std::string& lines, const std::vector<std::string>& rest = {}) {
  CommandInput input;
  input.arguments = arguments("chat", demo_model(), {"-n", "12", "--temp", "0"});
  input.arguments.insert(input.arguments.end(), rest.begin(), rest.end());
  input.stdin_text = lines;
  return run_command(input);
}

constexpr const char* kFirst = "It was a dark night.\n";
constexpr const char* kSecond = "Then the king came.\n";

TEST(Chat, AnswersEachLineAndEnds) {
  const CommandResult one = chat(kFirst);
  ASSERT_EQ(one.exit_code, 0) << one.err;
  EXPECT_EQ(one.err, "");
  const CommandResult two = chat(std::string(kFirst) + kSecond + "/exit\nnever read\n");
  ASSERT_EQ(two.exit_code, 0) << two.err;
  EXPECT_TRUE(two.out.starts_with(one.out));
  EXPECT_GT(two.out.size(), one.out.size());
}

TEST(Chat, OneQuestionAndOneAnswer) {
  EXPECT_EQ(chat("", {"-p", "It was a dark night."}).out, chat(kFirst).out);
}

TEST(Chat, OneAnswerAsAnObject) {
  const CommandResult result = chat("", {"-p", "It was a dark night.", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  auto json = parse_json(result.out, "stdout");
  ASSERT_TRUE(json.ok()) << result.out;
  EXPECT_EQ(json->at("text").get<std::string>() + "\n", chat(kFirst).out);
  EXPECT_EQ(json->at("timings").at("predicted_n"), 12);
  EXPECT_EQ(json->at("memory").at("measured"), json->at("memory").at("planned"));
  EXPECT_NE(chat(kFirst, {"--json"}).err.find("give the question with -p"), std::string::npos);
}

TEST(Chat, UndoAndClearForget) {
  const std::string once = chat(kFirst).out;
  EXPECT_EQ(chat(std::string(kFirst) + "/undo\n" + kFirst).out, once + once);
  EXPECT_EQ(chat(std::string(kFirst) + kSecond + "/clear\n" + kFirst).out,
            chat(std::string(kFirst) + kSecond).out + once);
  EXPECT_NE(chat("/undo\n").err.find("nothing to undo"), std::string::npos);
}

TEST(Chat, RegenDrawsAgainWithTheNextSeed) {
  const std::string sampled =
      chat(std::string("/set temp 1.5\n/set seed 1\n") + kFirst + "/regen\n").out;
  const std::string next = chat(std::string("/set temp=1.5;seed=2\n") + kFirst).out;
  EXPECT_TRUE(sampled.ends_with(next)) << sampled << next;
  EXPECT_NE(chat("/regen\n").err.find("no answer"), std::string::npos);
}

TEST(Chat, ASavedConversationGoesOn) {
  const TemporaryFolder folder;
  const std::string file = folder.path("talk.json");
  const CommandResult saved = chat(std::string(kFirst) + "/save " + file + "\n" + kSecond);
  EXPECT_EQ(saved.err, "saved 2 messages to " + file + "\n");
  const std::string& both = saved.out;
  const std::string first = chat(kFirst).out;
  const CommandResult loaded = chat("/load " + file + "\n" + kSecond);
  ASSERT_EQ(loaded.exit_code, 0);
  EXPECT_EQ(loaded.err, "loaded 2 messages from " + file + "\n");
  EXPECT_EQ(first + loaded.out, both);
  const std::string wrong = folder.write("wrong.json", R"([{"role":"assistant","content":"a"},
      {"role":"user","content":"b"}])");
  EXPECT_NE(chat("/load " + wrong + "\n").err.find(wrong + ": message 0: expected one of the user"),
            std::string::npos);
  const std::string question = folder.write("question.json", R"([{"role":"user","content":"a"}])");
  EXPECT_NE(chat("/load " + question + "\n")
                .err.find(question + ": expected a conversation that ends with an answer"),
            std::string::npos);
  const std::string number = folder.write("number.json", R"({"system": 7, "messages": []})");
  EXPECT_NE(chat("/load " + number + "\n").err.find("system: expected a string"),
            std::string::npos);
  EXPECT_NE(chat("/load /nonexistent/x\n").err.find("/nonexistent/x"), std::string::npos);
  EXPECT_EQ(chat(std::string(kFirst) + "/load " + wrong + "\n" + kSecond).out, both)
      << "the conversation that was there goes on";
  EXPECT_NE(chat("/save /nonexistent/x\n").err.find("/nonexistent/x"), std::string::npos);
}

TEST(Chat, SeveralLinesAreOneMessage) {
  const std::string quoted = chat("\"\"\"It was a dark night.\nThen the king came.\"\"\"\n").out;
  EXPECT_EQ(chat("\"\"\"\nIt was a dark night.\nThen the king came.\n\"\"\"\n").out.size() > 1,
            true);
  EXPECT_EQ(chat("It was a dark night.\\\nThen the king came.\n").out, quoted);
  EXPECT_EQ(chat("\"\"\"It was a dark night.\"\"\"\n").out, chat(kFirst).out);
  const TemporaryFolder folder;
  const std::string file = folder.write("message", "It was a dark night.\nThen the king came.");
  EXPECT_EQ(chat("/read " + file + "\n").out, quoted);
}

TEST(Chat, ShowsWhatItIsAsked) {
  const CommandResult shown = chat(std::string(kFirst) +
                                   "/show config\n/show memory\n/show template\n/show graph\n"
                                   "/show stats\n/stats\n/help\n/system\n");
  const std::string one = chat(kFirst).out;
  EXPECT_EQ(shown.out, one);
  for (const char* part : {"temperature: 0 ", "weights_mapped", "<|user|>", "phi3: ", "[ load ",
                           "/regen", "(no system prompt)"}) {
    EXPECT_NE(shown.err.find(part), std::string::npos) << part << "\n" << shown.err;
  }
}

TEST(Chat, AWrongCommandCostsOneLine) {
  const CommandResult result = chat(std::string("/udno\n/set topk 3\n/set temp hot\n/set\n/show x\n"
                                                "/read\n/stats\n/set threads 2\n") +
                                    kFirst);
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_EQ(result.out, chat(kFirst).out);
  for (const char* part :
       {"did you mean '/undo'", "did you mean 'top_k'", "found 'hot'", "expected NAME VALUE",
        "expected config, memory", "expected a FILE", "no answer yet", "'threads'"}) {
    EXPECT_NE(result.err.find(part), std::string::npos) << part << "\n" << result.err;
  }
}

TEST(Chat, ACommandWithWordsThatItDoesNotTakeIsRefused) {
  const CommandResult result = chat(std::string(kFirst) + "/undo 3\n/clear x\n/exit now?\n/undo\n");
  EXPECT_EQ(result.exit_code, 2);
  for (const char* part : {"/undo: expected nothing behind it, found '3'", "found 'x'", "'now?'"}) {
    EXPECT_NE(result.err.find(part), std::string::npos) << part << "\n" << result.err;
  }
  EXPECT_EQ(result.err.find("nothing to undo"), std::string::npos) << "the conversation is there";
}

TEST(Chat, CommandsHaveTheNamesOfOtherPrograms) {
  const std::string again = chat(std::string(kFirst) + "/regen\n").out;
  EXPECT_EQ(chat(std::string(kFirst) + "/retry\n").out, again);
  EXPECT_EQ(chat(std::string(kFirst) + "/regenerate\n").out, again);
  EXPECT_NE(chat(std::string(kFirst) + "/new\n/undo\n").err.find("nothing to undo"),
            std::string::npos);
}

TEST(Chat, SetTakesAllOrNothing) {
  const CommandResult result = chat("/set temp=1.5;top_k=x\n/show config\n");
  EXPECT_NE(result.err.find("found 'x'"), std::string::npos) << result.err;
  EXPECT_NE(result.err.find("temperature: 0 "), std::string::npos) << result.err;
}

TEST(Chat, SetClearsWhatItSet) {
  const std::string plain = chat(kFirst).out;
  ASSERT_NE(plain.find('e'), std::string::npos);
  const std::string stopped = chat(std::string("/set stop e\n") + kFirst).out;
  EXPECT_NE(stopped, plain);
  for (const char* clear : {"/set stop=\n", "/set stop \"\"\n"}) {
    EXPECT_EQ(chat(std::string("/set stop e\n") + clear + kFirst).out, plain) << clear;
  }
  const CommandResult system = chat("/system Be brief.\n/system \"\"\n/system\n");
  EXPECT_NE(system.err.find("(no system prompt)"), std::string::npos) << system.err;
}

TEST(Chat, ASeedOfMinusOneIsDrawnAgain) {
  const CommandResult result =
      chat(std::string("/set temp 1\n/set seed 5\n/set seed -1\n") + kFirst, {"--stats"});
  EXPECT_NE(result.err.find("| seed "), std::string::npos) << result.err;
  EXPECT_EQ(result.err.find("| seed 5 "), std::string::npos) << result.err;
}

TEST(Chat, AMessageThatDoesNotFitIsRefusedAndTheChatGoesOn) {
  std::string longer;
  for (int i = 0; i < 60; ++i) longer += "again and again ";
  const CommandResult result = chat(longer + "\n" + kFirst, {"-c", "64"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_NE(result.err.find("the context holds 64"), std::string::npos) << result.err;
  EXPECT_NE(result.err.find("shorten it or raise --ctx-size (the model's is 2048)\n"),
            std::string::npos)
      << result.err;
  EXPECT_EQ(result.out, chat(kFirst).out);
}

TEST(Chat, ItsExitCodeIsThatOfTheFirstRefusal) {
  EXPECT_EQ(chat(std::string("/save /nonexistent/x\n/udno\n") + kFirst).exit_code, 3);
  EXPECT_EQ(chat(std::string("/udno\n/save /nonexistent/x\n") + kFirst).exit_code, 2);
}

TEST(Chat, AFullContextIsSaid) {
  const CommandResult result = chat(kFirst, {"-c", "24", "-n", "-1", "--ignore-eos"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_NE(result.err.find("the context is full (24 tokens)"), std::string::npos) << result.err;
}

TEST(Chat, AnInterruptStopsTheAnswerAndTheChatGoesOn) {
  CommandInput input;
  input.arguments = arguments("chat", demo_model(), {"--temp", "0", "--ignore-eos", "-n", "1000"});
  input.stdin_text = std::string(kFirst) + "/set n 4\n/stats\n" + kSecond;
  input.interrupts = 1;
  const CommandResult result = run_command(input);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NE(result.out.find('\n'), std::string::npos);
  EXPECT_EQ(result.err.find("gen 1000 tok"), std::string::npos) << result.err;
}

TEST(Chat, ASystemPromptThatTheFormatDropsIsSaid) {
  const CommandResult result = chat(kFirst, {"-sys", "Be brief."});
  EXPECT_NE(result.err.find("no system turn"), std::string::npos) << result.err;
  const std::string replaced = chat("/system Be a pirate.\n").err;
  EXPECT_NE(replaced.find("no system turn"), std::string::npos) << replaced;
  const TemporaryFolder folder;
  const std::string file = folder.write("talk.json", R"({"system": "Be brief.", "messages": []})");
  const std::string loaded = chat("/load " + file + "\n").err;
  EXPECT_NE(loaded.find("no system turn"), std::string::npos) << loaded;
}

}  // namespace
}  // namespace rt::test
