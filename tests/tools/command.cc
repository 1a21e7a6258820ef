#include "tests/tools/command.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>

namespace rt::test {
namespace {

constexpr int kTimeoutMs = 120'000;

struct Pipe {
  int read = -1;
  int write = -1;
  Pipe() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) abort();
    read = ends[0];
    write = ends[1];
  }
  ~Pipe() {
    close_read();
    close_write();
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  void close_read() { close_end(read); }
  void close_write() { close_end(write); }

 private:
  static void close_end(int& end) {
    if (end >= 0) ::close(end);
    end = -1;
  }
};

[[noreturn]] void become_command(const CommandInput& input, const Pipe& in, const Pipe& out,
                                 const Pipe& err) {
  dup2(in.read, STDIN_FILENO);
  dup2(out.write, STDOUT_FILENO);
  dup2(err.write, STDERR_FILENO);
  const std::string program = RT_BINARY_DIR "/bin/runtime";
  std::vector<std::string> words = input.arguments;
  words.insert(words.begin(), program);
  std::vector<std::string> variables = input.variables;
  variables.push_back("HOME=/nonexistent");
  for (const char* name : {"ASAN_OPTIONS", "UBSAN_OPTIONS", "PATH"}) {
    if (const char* value = getenv(name)) variables.push_back(std::string(name) + "=" + value);
  }
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  std::vector<char*> envp;
  for (std::string& variable : variables) envp.push_back(variable.data());
  envp.push_back(nullptr);
  signal(SIGPIPE, SIG_DFL);
  execve(program.c_str(), argv.data(), envp.data());
  _exit(127);
}

// Appends what is there; false at the end.
bool take(int from, std::string& to) {
  char block[4096];
  const ssize_t count = ::read(from, block, sizeof block);
  if (count <= 0) return false;
  to.append(block, static_cast<std::size_t>(count));
  return true;
}

void exchange(const CommandInput& input, pid_t child, Pipe& out, Pipe& err, CommandResult& result) {
  int interrupts = input.interrupts;
  const auto start = std::chrono::steady_clock::now();
  while (out.read >= 0 || err.read >= 0) {
    pollfd fds[2] = {{out.read, POLLIN, 0}, {err.read, POLLIN, 0}};
    poll(fds, 2, 100);
    if (fds[0].revents != 0 && !take(out.read, result.out)) out.close_read();
    if (fds[1].revents != 0 && !take(err.read, result.err)) err.close_read();
    if (!result.out.empty() && input.close_stdout) out.close_read();
    for (; !result.out.empty() && interrupts > 0; --interrupts) {
      kill(child, SIGINT);
      usleep(1000);  // two signals at once would be one
    }
    if (std::chrono::steady_clock::now() - start > std::chrono::milliseconds(kTimeoutMs)) {
      ADD_FAILURE() << "the command did not end within " << kTimeoutMs << " ms";
      kill(child, SIGKILL);
      return;
    }
  }
}

}  // namespace

CommandResult run_command(const CommandInput& input) {
  signal(SIGPIPE, SIG_IGN);
  Pipe in;
  Pipe out;
  Pipe err;
  const pid_t child = fork();
  if (child == 0) become_command(input, in, out, err);
  in.close_read();
  out.close_write();
  err.close_write();
  // Our inputs are smaller than a pipe's buffer, so this cannot wait.
  EXPECT_LT(input.stdin_text.size(), 60'000u);
  [[maybe_unused]] const ssize_t written =
      ::write(in.write, input.stdin_text.data(), input.stdin_text.size());
  in.close_write();
  CommandResult result;
  exchange(input, child, out, err, result);
  int status = 0;
  waitpid(child, &status, 0);
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result;
}

TemporaryFolder::TemporaryFolder() {
  std::string pattern = (std::filesystem::temp_directory_path() / "rt_tools_XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr) abort();
  path_ = pattern;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code code;
  std::filesystem::remove_all(path_, code);
}

std::string TemporaryFolder::write(const std::string& name, const std::string& text) const {
  std::ofstream(path(name), std::ios::binary) << text;
  return path(name);
}

std::string source_path(const std::string& path) {
  return RT_SOURCE_DIR "/" + path;
}

std::vector<std::string> fixture_model() {
  return {"--graph", "phi3", "--weights", source_path("tests/fixtures/phi3")};
}

std::vector<std::string> demo_model() {
  return {"--graph", "phi3", "--weights", "demo"};
}

std::vector<std::string> arguments(const std::string& verb, const std::vector<std::string>& model,
                                   const std::vector<std::string>& rest) {
  std::vector<std::string> words{verb};
  words.insert(words.end(), model.begin(), model.end());
  words.insert(words.end(), rest.begin(), rest.end());
  return words;
}

}  // namespace rt::test
