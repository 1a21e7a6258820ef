// Runs build/bin/runtime as a user does: arguments, stdin, a few variables; what it printed and how
// it ended. Nothing of the caller's environment reaches it.
#pragma once

#include <string>
#include <vector>

namespace rt::test {

struct CommandResult {
  int exit_code = -1;  // 128 + signal if it was killed
  std::string out;
  std::string err;
};

struct CommandInput {
  std::vector<std::string> arguments;
  std::string stdin_text;
  std::vector<std::string> variables;  // "RUNTIME_TEMP=0.5"
  bool close_stdout = false;           // the reader of stdout goes away after the first bytes
  int interrupts = 0;                  // Ctrl-C this often, once something was printed
};

CommandResult run_command(const CommandInput& input);
inline CommandResult run_command(std::vector<std::string> arguments) {
  CommandInput input;
  input.arguments = std::move(arguments);
  return run_command(input);
}

// A folder that is empty at first and gone at the end.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  std::string path(const std::string& name) const { return path_ + "/" + name; }
  std::string write(const std::string& name, const std::string& text) const;

 private:
  std::string path_;
};

std::string source_path(const std::string& path);
// graph and weights of a fixture without a tokenizer, and of the shipped model that has one.
std::vector<std::string> fixture_model();
std::vector<std::string> demo_model();

// verb + model + rest.
std::vector<std::string> arguments(const std::string& verb, const std::vector<std::string>& model,
                                   const std::vector<std::string>& rest);

}  // namespace rt::test
