// The command line: `runtime [VERB] [WORDS] [FLAGS]`, parsed by CLI11 from the table of settings.
#pragma once

#include <string>
#include <vector>

#include "core/base/result.h"
#include "tools/runtime/setting.h"

namespace rt {

struct Arguments {
  Verb verb = Verb::kChat;
  bool verb_given = false;         // else: chat on a terminal, generate otherwise
  std::vector<std::string> words;  // what is no flag: "list" of `plugins list`
  struct Assignment {
    const Setting* setting;
    std::vector<std::string> values;
    std::string flag;
  };
  std::vector<Assignment> assignments;
  // Not empty: print this on stdout and exit 0 (--help, --version).
  std::string answer;

  // The settings that this run knows: of the verb, or of generate and chat if none was given.
  std::uint32_t verbs() const {
    return verb_given ? verb_bit(verb) : verb_bit(Verb::kGenerate) | verb_bit(Verb::kChat);
  }
};

Result<Arguments> parse_arguments(int argc, const char* const* argv);

}  // namespace rt
