// What the command refuses: exit code, and what the line on stderr must say. A new case is a row of
// bad_input_test.cc, or of misspelled_test.cc where something was meant.
#pragma once

#include <string>
#include <vector>

namespace rt::test {

enum class Model { kNone, kFixture, kDemo };

struct Refusal {
  const char* name;
  const char* verb;
  Model model;
  std::vector<std::string> rest;
  int exit_code;
  const char* says;
  const char* stdin_text = "";
  const char* variable = "";
};

// Runs the command. What looks like a turns file is written to one.
void expect_refused(const Refusal& refusal);

}  // namespace rt::test
