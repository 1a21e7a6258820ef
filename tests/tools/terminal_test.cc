// The chat on a pseudo terminal: keys in, what a person would see out.
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>

#include "tests/tools/command.h"

namespace rt::test {
namespace {

class Terminal {
 public:
  Terminal(const std::vector<std::string>& words, const std::string& state) {
    winsize size{24, 80, 0, 0};
    child_ = forkpty(&master_, nullptr, nullptr, &size);
    if (child_ == 0) become(words, state);
  }
  ~Terminal() {
    if (child_ > 0) {
      kill(child_, SIGKILL);
      waitpid(child_, nullptr, 0);
    }
    close(master_);
  }
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  void type(const std::string& keys) {
    EXPECT_EQ(write(master_, keys.data(), keys.size()), static_cast<ssize_t>(keys.size()));
  }

  // Waits until `text` is seen after what was seen before.
  testing::AssertionResult sees(const std::string& text) {
    const auto start = std::chrono::steady_clock::now();
    for (;;) {
      const std::size_t at = seen_.find(text, from_);
      if (at != std::string::npos) {
        from_ = at + text.size();
        return testing::AssertionSuccess();
      }
      const bool late = std::chrono::steady_clock::now() - start > std::chrono::seconds(60);
      if (late || !take()) {
        return testing::AssertionFailure() << "no '" << text << "' in: " << seen_.substr(from_);
      }
    }
  }

  // The exit status; a program that does not end within a minute is killed.
  int end() {
    const auto start = std::chrono::steady_clock::now();
    while (take()) {
      if (std::chrono::steady_clock::now() - start > std::chrono::seconds(60)) {
        ADD_FAILURE() << "does not end; seen: " << seen_.substr(from_);
        kill(child_, SIGKILL);
      }
    }
    int status = 0;
    waitpid(child_, &status, 0);
    child_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

  const std::string& seen() const { return seen_; }

 private:
  [[noreturn]] static void become(const std::vector<std::string>& words, const std::string& state) {
    const std::string program = RT_BINARY_DIR "/bin/runtime";
    std::vector<char*> argv{const_cast<char*>(program.c_str())};
    for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    setenv("XDG_STATE_HOME", state.c_str(), 1);
    execv(program.c_str(), argv.data());
    _exit(127);
  }

  bool take() {
    pollfd fd{master_, POLLIN, 0};
    if (poll(&fd, 1, 1000) == 0) return true;
    char block[4096];
    const ssize_t count = read(master_, block, sizeof block);
    if (count <= 0) return false;
    seen_.append(block, static_cast<std::size_t>(count));
    return true;
  }

  int master_ = -1;
  pid_t child_ = -1;
  std::string seen_;
  std::size_t from_ = 0;
};

// What raw mode begins with: keys are keys from here on.
constexpr const char* kPrompt = "\x1b[?2004h";
// What raw mode ends with: Enter was pressed, the answer follows.
constexpr const char* kAnswerBegins = "\x1b[?2004l";

std::vector<std::string> chat_words(const std::vector<std::string>& rest = {}) {
  std::vector<std::string> words = demo_model();  // no verb: a terminal chats
  words.insert(words.end(), {"--temp", "0", "-n", "8"});
  words.insert(words.end(), rest.begin(), rest.end());
  return words;
}

TEST(TerminalChat, GreetsAnswersAndLeaves) {
  const TemporaryFolder state;
  Terminal terminal(chat_words(), state.path(""));
  EXPECT_TRUE(terminal.sees("/help lists the commands"));
  EXPECT_TRUE(terminal.sees(kPrompt));
  terminal.type("It was a dark night.\r");
  EXPECT_TRUE(terminal.sees("[ load "));
  EXPECT_TRUE(terminal.sees(kPrompt));
  terminal.type("\x03");
  EXPECT_TRUE(terminal.sees("(/exit or Ctrl-D leaves)"));
  EXPECT_TRUE(terminal.sees(kPrompt));
  terminal.type("\x04");
  EXPECT_EQ(terminal.end(), 0);
  EXPECT_TRUE(terminal.seen().ends_with(kAnswerBegins)) << terminal.seen();
}

TEST(TerminalChat, EditsALine) {
  const TemporaryFolder state;
  Terminal terminal(chat_words(), state.path(""));
  EXPECT_TRUE(terminal.sees(kPrompt));
  // "/shw grapX" -> home, right x3, "o", end, backspace, "h": /show graph
  terminal.type("/shw grapX\x01\x1b[C\x1b[C\x1b[Co\x05\x7fh\r");
  EXPECT_TRUE(terminal.sees("parameters"));
  EXPECT_TRUE(terminal.sees(kPrompt));
  // A word and the rest of a line are cut; a character of several bytes is one step.
  terminal.type(
      "/stats x\x17junk\x15\xC3\xA4\xE4\xB8\xAD\x7f\x7f/sta\x1b[D\x1b[Dx\x7f\x0b\x15/stats\r");
  EXPECT_TRUE(terminal.sees("there was no answer yet"));
  terminal.type("/exit\r");
  EXPECT_EQ(terminal.end(), 0);
}

TEST(TerminalChat, APasteOfSeveralLinesIsOneMessage) {
  const TemporaryFolder state;
  Terminal terminal(chat_words(), state.path(""));
  EXPECT_TRUE(terminal.sees(kPrompt));
  terminal.type("\x1b[200~/system first\rsecond\x1b[201~\r/show config\r");
  EXPECT_TRUE(terminal.sees("first\\nsecond"));
  terminal.type("/exit\r");
  EXPECT_EQ(terminal.end(), 0);
}

TEST(TerminalChat, KeepsAHistory) {
  const TemporaryFolder state;
  {
    Terminal terminal(chat_words(), state.path(""));
    terminal.type("/show graph\r");  // typed ahead, before the model is loaded
    EXPECT_TRUE(terminal.sees("parameters"));
    EXPECT_TRUE(terminal.sees(kPrompt));
    terminal.type(" /stats\r/bye\r");
    EXPECT_EQ(terminal.end(), 0);
  }
  const std::string file = state.path("runtime/history");
  std::ifstream stream(file);
  std::string text((std::istreambuf_iterator<char>(stream)), {});
  EXPECT_EQ(text, "\"/show graph\"\n\"/bye\"\n");
  EXPECT_EQ(std::filesystem::status(file).permissions() & std::filesystem::perms::others_all,
            std::filesystem::perms::none);
  {
    Terminal terminal(chat_words(), state.path(""));
    EXPECT_TRUE(terminal.sees(kPrompt));
    terminal.type("\x1b[A\x1b[A\r");
    EXPECT_TRUE(terminal.sees("parameters"));
    EXPECT_TRUE(terminal.sees(kPrompt));
    terminal.type("\x04");
    EXPECT_EQ(terminal.end(), 0);
  }
}

TEST(TerminalChat, WithoutHistoryNothingIsWritten) {
  const TemporaryFolder state;
  Terminal terminal(chat_words({"--no-history"}), state.path(""));
  EXPECT_TRUE(terminal.sees(kPrompt));
  terminal.type("/help\r\x04");
  EXPECT_EQ(terminal.end(), 0);
  EXPECT_FALSE(std::filesystem::exists(state.path("runtime")));
}

// That two presses in one answer leave with 130 is shown in generate_test.cc: a terminal gives no
// way to press twice within a token of 1 ms.
TEST(TerminalChat, CtrlCStopsTheAnswerAndTheChatGoesOn) {
  const TemporaryFolder state;
  Terminal terminal(chat_words({"--ignore-eos", "-n", "1500"}), state.path(""));
  EXPECT_TRUE(terminal.sees(kPrompt));
  terminal.type("It was a dark night.\r");
  EXPECT_TRUE(terminal.sees(kAnswerBegins));
  EXPECT_TRUE(terminal.sees(" the"));  // of the answer
  terminal.type("\x03");
  EXPECT_TRUE(terminal.sees("[ load "));
  EXPECT_TRUE(terminal.sees(kPrompt));
  terminal.type("/exit\r");
  EXPECT_EQ(terminal.end(), 0);
}

// Work that takes a while says how far it is, on a terminal and nowhere else.
TEST(TerminalProgress, OfPerplexityAndBench) {
  const TemporaryFolder state;
  std::string text;
  for (int i = 0; i < 400; ++i) text += "The old clock in the hall struck nine. ";
  Terminal scoring(arguments("perplexity", demo_model(), {"--file", state.write("text", text)}),
                   state.path(""));
  EXPECT_TRUE(scoring.sees("scored "));
  EXPECT_TRUE(scoring.sees(" s left"));
  EXPECT_TRUE(scoring.sees("bits per byte  "));
  EXPECT_EQ(scoring.end(), 0);

  Terminal bench(
      arguments("bench", demo_model(), {"-p", "8", "-n", "2", "-r", "2", "-t", "1", "--no-probe"}),
      state.path(""));
  EXPECT_TRUE(bench.sees("test 1 of 2, pp8: warming up"));
  EXPECT_TRUE(bench.sees("test 2 of 2, tg2: repetition 2 of 2"));
  EXPECT_EQ(bench.end(), 0);
}

}  // namespace
}  // namespace rt::test
