// The chat on a pseudo terminal: keys in, what a person would see out.
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>

#include "tests/tools/command.h"

namespace rt::test {
namespace {

constexpr const char* kProgram = RT_BINARY_DIR "/bin/runtime";

// argv: the program itself at first.
struct Start {
  std::vector<std::string> argv;
  const char* term = "xterm";
};

Start command_start(const std::vector<std::string>& words) {
  Start start;
  start.argv = words;
  start.argv.insert(start.argv.begin(), kProgram);
  return start;
}

class Terminal {
 public:
  Terminal(const std::vector<std::string>& words, const std::string& state)
      : Terminal(command_start(words), state) {}
  Terminal(const Start& start, const std::string& state) {
    winsize size{24, 80, 0, 0};
    child_ = forkpty(&master_, nullptr, nullptr, &size);
    if (child_ == 0) become(start, state);
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
  // Takes what has come, so that the program need not wait for us.
  void look() {
    pollfd fd{master_, POLLIN, 0};
    while (poll(&fd, 1, 20) == 1 && take()) {
    }
  }

  void signal(int number) { EXPECT_EQ(kill(child_, number), 0); }
  void stop() {
    signal(SIGSTOP);
    EXPECT_EQ(waitpid(child_, nullptr, WUNTRACED), child_);
  }

  // Lines are edited by the terminal, with echo, signals and Enter as a newline.
  bool cooked() const {
    const termios mode = this->mode();
    return (mode.c_lflag & (ICANON | ECHO | ISIG)) == (ICANON | ECHO | ISIG) &&
           (mode.c_iflag & ICRNL) != 0;
  }
  termios mode() const {
    termios mode{};
    EXPECT_EQ(tcgetattr(master_, &mode), 0);
    return mode;
  }
  void set_mode(const termios& mode) { EXPECT_EQ(tcsetattr(master_, TCSANOW, &mode), 0); }

 private:
  [[noreturn]] static void become(const Start& start, const std::string& state) {
    std::vector<char*> argv;
    for (const std::string& word : start.argv) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    setenv("XDG_STATE_HOME", state.c_str(), 1);
    setenv("TERM", start.term, 1);
    execvp(argv[0], argv.data());
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

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kEnds[] = {SIGTERM, SIGHUP, SIGQUIT};  // crashes are the sanitizer's
#else
constexpr int kEnds[] = {SIGTERM, SIGHUP, SIGQUIT, SIGSEGV, SIGABRT};
#endif

// What ends the program at the prompt leaves the terminal to the next one as it was.
TEST(TerminalChat, ASignalAtThePromptRestoresTheTerminal) {
  const TemporaryFolder state;
  for (const int number : kEnds) {
    Terminal terminal(chat_words(), state.path(""));
    EXPECT_TRUE(terminal.sees(kPrompt));
    EXPECT_FALSE(terminal.cooked());
    terminal.signal(number);
    EXPECT_EQ(terminal.end(), 128 + number);
    EXPECT_TRUE(terminal.cooked()) << number;
    EXPECT_TRUE(terminal.seen().ends_with(kAnswerBegins)) << terminal.seen();
  }
}

// A shell with job control: Ctrl-Z gives it the terminal, `fg` takes it back with what was typed.
TEST(TerminalChat, CtrlZStopsAndFgGoesOn) {
  const TemporaryFolder state;
  std::vector<std::string> words{
      "bash", "--norc", "-c", "set -m; \"$@\"; echo shell has $?; stty -a; fg", "shell", kProgram};
  for (const std::string& word : chat_words()) words.push_back(word);
  Terminal terminal(Start{words}, state.path(""));
  EXPECT_TRUE(terminal.sees(kPrompt));
  terminal.type("/sho graph\x1b[D\x1b[D\x1b[D\x1b[D\x1b[D\x1b[D\x1a");
  EXPECT_TRUE(terminal.sees(kAnswerBegins));
  EXPECT_TRUE(terminal.sees("shell has 148"));
  EXPECT_TRUE(terminal.sees(" icrnl"));
  EXPECT_TRUE(terminal.sees(" icanon"));
  EXPECT_TRUE(terminal.sees(kPrompt));
  EXPECT_TRUE(terminal.sees("> /sho graph"));
  terminal.type("w\r");
  EXPECT_TRUE(terminal.sees("parameters"));
  EXPECT_TRUE(terminal.sees(kPrompt));
  terminal.type("\x04");
  EXPECT_EQ(terminal.end(), 0);
}

TEST(TerminalChat, AStopFromOutsideIsRecoveredFrom) {
  const TemporaryFolder state;
  Terminal terminal(chat_words(), state.path(""));
  const termios cooked = terminal.mode();
  EXPECT_TRUE(terminal.sees(kPrompt));
  terminal.type("/show grap");
  EXPECT_TRUE(terminal.sees("grap"));
  terminal.stop();
  terminal.set_mode(cooked);  // as a shell does
  terminal.signal(SIGCONT);
  EXPECT_TRUE(terminal.sees(kPrompt));
  EXPECT_TRUE(terminal.sees("> /show grap"));
  EXPECT_FALSE(terminal.cooked());
  terminal.type("h\r");
  EXPECT_TRUE(terminal.sees("parameters"));
  terminal.type("/exit\r");
  EXPECT_EQ(terminal.end(), 0);
}

// Drawn for every key, these would be 208 MB.
TEST(TerminalChat, ALongPasteWithoutBracketsIsDrawnAFewTimes) {
  const TemporaryFolder state;
  Terminal terminal(chat_words(), state.path(""));
  EXPECT_TRUE(terminal.sees(kPrompt));
  for (int i = 0; i < 20; ++i) {
    terminal.type(std::string(1000, 'a'));
    terminal.look();
  }
  terminal.type("z");
  EXPECT_TRUE(terminal.sees("az"));
  EXPECT_LT(terminal.seen().size(), 200'000u) << "at most a screen of 1920 for each piece read";
  terminal.type("\x15/stats\r");
  EXPECT_TRUE(terminal.sees("there was no answer yet"));
  terminal.type("/exit\r");
  EXPECT_EQ(terminal.end(), 0);
}

TEST(TerminalChat, AByteThatIsNoUtf8TakesNoKeyWithIt) {
  const TemporaryFolder state;
  Terminal terminal(chat_words(), state.path(""));
  EXPECT_TRUE(terminal.sees(kPrompt));
  terminal.type("\xE9\x7f/stats\r");
  EXPECT_TRUE(terminal.sees("there was no answer yet"));
  terminal.type("/exit\r");
  EXPECT_EQ(terminal.end(), 0);
}

TEST(TerminalChat, CtrlCLeavesAPasteThatLostItsEnd) {
  const TemporaryFolder state;
  Terminal terminal(chat_words(), state.path(""));
  EXPECT_TRUE(terminal.sees(kPrompt));
  terminal.type("\x1b[200~no end\x03");
  EXPECT_TRUE(terminal.sees("(/exit or Ctrl-D leaves)"));
  EXPECT_TRUE(terminal.sees(kPrompt));
  terminal.type(
      "\x1b[200~/system a\x03"
      "b\x1b[201~\r/show config\r");
  EXPECT_TRUE(terminal.sees("a\\u0003b")) << "a Ctrl-C within a paste is pasted";
  terminal.type("/exit\r");
  EXPECT_EQ(terminal.end(), 0);
}

TEST(TerminalChat, WhatWasCutIsPutBack) {
  const TemporaryFolder state;
  Terminal terminal(chat_words(), state.path(""));
  EXPECT_TRUE(terminal.sees(kPrompt));
  terminal.type("graph\x15/show \x19\r");
  EXPECT_TRUE(terminal.sees("parameters"));
  terminal.type("/exit\r");
  EXPECT_EQ(terminal.end(), 0);
}

TEST(TerminalChat, ADumbTerminalGetsNoEscapeSequences) {
  const TemporaryFolder state;
  for (const char* term : {"dumb", ""}) {
    Start start = command_start(chat_words());
    start.term = term;
    Terminal terminal(start, state.path(""));
    EXPECT_TRUE(terminal.sees("> "));
    terminal.type("/stats\n");
    EXPECT_TRUE(terminal.sees("there was no answer yet"));
    EXPECT_TRUE(terminal.sees("> "));
    terminal.type("\x04");
    EXPECT_EQ(terminal.end(), 0);
    EXPECT_EQ(terminal.seen().find('\x1b'), std::string::npos) << terminal.seen();
  }
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
