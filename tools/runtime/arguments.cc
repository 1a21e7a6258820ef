#include "tools/runtime/arguments.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <deque>
#include <optional>

#include "core/base/text.h"
#include "tools/runtime/flag_advice.h"

namespace rt {
namespace {

constexpr const char* kVersion = "runtime " RT_VERSION;

struct VerbName {
  const char* name;
  Verb verb;
  const char* words;
  const char* help;
  const char* details = "";  // of `runtime VERB --help`: what the words mean
};

constexpr VerbName kVerbs[] = {
    {"generate", Verb::kGenerate, "", "continue a prompt, as it is, with BOS and no chat format"},
    {"chat", Verb::kChat, "", "talk with the model; with -p: one question and one answer"},
    {"plan", Verb::kPlan, "", "how much memory the model takes; loads nothing"},
    {"bench", Verb::kBench, "", "tokens per second, beside what the machine could do"},
    {"perplexity", Verb::kPerplexity, "", "bits per byte and perplexity of a text"},
    {"quantize", Verb::kQuantize, "", "write a checkpoint in nf4, nf4-dq or int8 (bitsandbytes')"},
    {"tokenize", Verb::kTokenize, "[TEXT]", "text to token ids, or back with --detokenize"},
    {"render", Verb::kRender, "", "messages as JSON to the chat prompt"},
    {"plugins", Verb::kPlugins, "list|why|check|show", "plugins: found, chosen, tested, explained",
     "  list    what was found, and what was not taken with the reason\n"
     "  why     for each node (--node) of --graph, every implementation and its fate\n"
     "  check FILE...\n"
     "          opens plugin files and holds what is in them to its contract; exit code 2 if "
     "something fails\n"
     "  show [OP]\n"
     "          the operators there are; of one: ports, attributes, tolerance, implementations\n"},
    {"graph", Verb::kGraph, "check|expand|dot [FILE]", "check a graph file or show it in full",
     "  check   does it fit together, and the checkpoint if there is one\n"
     "  expand  every node with its shapes, as YAML\n"
     "  dot     the same to draw, for Graphviz\n"
     "FILE stands for --graph FILE.\n"},
};

const VerbName* find_verb(std::string_view word) {
  for (const VerbName& verb : kVerbs) {
    if (word == verb.name) return &verb;
  }
  return nullptr;
}

std::string general_help() {
  std::string text =
      "Runs decoder-only language models from a YAML graph.\n\n"
      "Usage:\n"
      "  runtime --graph phi3 [--weights DIR]              chat on a terminal\n"
      "  runtime --graph phi3 --prompt \"Once upon a time\"  generate\n"
      "  runtime VERB [FLAGS]                              runtime VERB --help\n\nVerbs:\n";
  for (const VerbName& verb : kVerbs) {
    std::string line = "  " + std::string(verb.name) + " " + verb.words;
    line.resize(std::max<std::size_t>(line.size() + 1, 34), ' ');
    text += line + verb.help + "\n";
  }
  text +=
      "\nA flag may be set by the environment: RUNTIME_PLANNER=exact is --planner exact. The "
      "command\n"
      "line goes before it, and it before --set and --config.\n"
      "\nExit codes: 0; 2 bad input, 3 the machine refuses, 70 failed while running, 130 "
      "interrupted.\n"
      "A chat whose messages are piped in ends with that of the first one that was refused.\n";
  return text + "\nWithout a verb the flags of generate and chat are taken:\n";
}

std::string verb_help(const VerbName& verb) {
  const std::string text = std::string(verb.help) + "\n";
  if (*verb.words == '\0') return text;
  return text + "\nruntime " + verb.name + " " + verb.words + " [FLAGS]\n" + verb.details;
}

// What CLI11 cannot say: short flags of several letters (llama.cpp's).
std::string long_form(const std::string& argument) {
  constexpr std::pair<const char*, const char*> kForms[] = {
      {"-sys", "--system"},  {"-ctk", "--kv-dtype"},   {"-pg", "--prompt-gen"},
      {"-np", "--parallel"}, {"-ub", "--step-tokens"}, {"-dev", "--device"}};
  for (const auto& [from, to] : kForms) {
    if (argument == from) return to;
  }
  return argument;
}

// "--top-k" is also "--top_k", as Python programs spell it.
std::string cli_names(const Setting& setting) {
  std::string names;
  for (const std::string& flag : flags_of(setting)) {
    names += (names.empty() ? "" : ",") + flag;
    std::string underscored = flag;
    std::replace(underscored.begin() + 1, underscored.end(), '-', '_');
    if (flag.starts_with("--")) underscored[1] = '-';
    if (underscored != flag) names += "," + underscored;
  }
  return names;
}

std::string help_text(const Setting& setting) {
  std::string text = setting.help;
  if (*setting.value != '\0' && setting.kind != ValueKind::kFlag) {
    text += " [" + std::string(setting.value) + "]";
  }
  return text;
}

// Only the names that are worth reading: no underscores.
class HelpFormat : public CLI::Formatter {
 public:
  std::string make_option_name(const CLI::Option* option, bool positional) const override {
    if (positional) return CLI::Formatter::make_option_name(option, positional);
    std::string names;
    for (const std::string& name : option->get_snames()) names += "-" + name + ", ";
    const std::vector<std::string>& longs = option->get_lnames();
    return names + (longs.empty() ? "" : "--" + longs.front());
  }
  std::string make_option_opts(const CLI::Option* option) const override {
    return option->get_type_size() == 0 ? "" : " " + option->get_type_name();
  }
};

class Parser {
 public:
  explicit Parser(const VerbName* verb) {
    app_.description(verb == nullptr ? general_help() : verb_help(*verb));
    app_.name(std::string("runtime") + (verb == nullptr ? "" : std::string(" ") + verb->name));
    app_.formatter(std::make_shared<HelpFormat>());
    app_.get_formatter()->column_width(38);
    app_.set_version_flag("--version", kVersion);
    app_.allow_extras();
    if (verb != nullptr) arguments_.verb = verb->verb;
    arguments_.verb_given = verb != nullptr;
    words_allowed_ = verb != nullptr && *verb->words != '\0';
    for (const Setting& setting : all_settings()) {
      if ((setting.verbs & arguments_.verbs()) != 0 && *setting.flags != '\0') add(setting);
    }
  }

  Result<Arguments> parse(std::vector<std::string> words) {
    RT_RETURN_IF_ERROR(check_short_flags(words));
    std::reverse(words.begin(), words.end());  // CLI11 takes them from the back
    try {
      app_.parse(words);
    } catch (const CLI::CallForHelp&) {
      arguments_.answer = app_.help();
      return std::move(arguments_);
    } catch (const CLI::CallForVersion&) {
      arguments_.answer = std::string(kVersion) + "\n";
      return std::move(arguments_);
    } catch (const CLI::ParseError& error) {
      return bad_input(std::string(error.what()) + "; see --help");
    }
    RT_RETURN_IF_ERROR(take_words());
    for (const auto& [setting, option] : options_) {
      if (option->count() == 0) continue;
      arguments_.assignments.push_back({setting, option->results(), flag_name(*setting)});
    }
    return std::move(arguments_);
  }

 private:
  void add(const Setting& setting) {
    CLI::Option* option = nullptr;
    if (setting.kind == ValueKind::kFlag) {
      option = app_.add_flag(cli_names(setting), flags_.emplace_back(), help_text(setting));
      option->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
    } else {
      option = app_.add_option(cli_names(setting), texts_.emplace_back(), help_text(setting));
      option->type_name(setting.metavar)->type_size(1)->expected(1)->allow_extra_args(false);
      const bool repeatable =
          setting.kind == ValueKind::kTexts || setting.kind == ValueKind::kNames;
      option->multi_option_policy(repeatable ? CLI::MultiOptionPolicy::TakeAll
                                             : CLI::MultiOptionPolicy::TakeLast);
    }
    options_.emplace_back(&setting, option);
  }

  // CLI11 takes -ngl for -n with the value "gl", and -hf for -h: here a letter has its value behind
  // it only if that is a number, as in -n5.
  Status check_short_flags(const std::vector<std::string>& words) const {
    for (std::size_t i = 0; i < words.size(); ++i) {
      const std::string& word = words[i];
      if (word == "--") break;
      if (takes_value(word)) {
        ++i;
        continue;
      }
      if (word.size() < 3 || word[0] != '-' || word[1] == '-') continue;
      const std::string letter = word.substr(0, 2);
      const std::string value = word.substr(2);
      if (!takes_value(letter)) return unknown_flag(word);
      if (std::isdigit(static_cast<unsigned char>(value[value[0] == '-' ? 1 : 0])) != 0) continue;
      const std::string name = word.substr(0, word.find('='));
      if (!foreign_advice(name).empty()) return unknown_flag(name);
      return bad_input("unknown flag " + quote(word) + "; a value stands apart: " + letter + " " +
                       printable(value) + " (see --help)");
    }
    return {};
  }

  bool takes_value(const std::string& word) const {
    if (!word.starts_with("-")) return false;
    const CLI::Option* option = app_.get_option_no_throw(word);
    return option != nullptr && option->get_type_size() != 0;
  }

  Error unknown_flag(const std::string& name) const {
    std::vector<std::string> flags{"--help", "--version"};
    for (const auto& [setting, option] : options_) {
      for (const std::string& flag : flags_of(*setting)) flags.push_back(flag);
    }
    std::string meant = elsewhere(name);
    if (meant.empty()) meant = foreign_advice(name);
    if (meant.empty()) meant = near_flag(name, flags);
    return bad_input("unknown flag " + quote(name) + meant + " (see --help)");
  }

  // Of a word where there are none.
  Error unexpected(const std::string& word) const {
    const bool prompted = (find_setting("prompt")->verbs & arguments_.verbs()) != 0;
    return bad_input("unexpected argument " + quote(word) +
                     (find_verb(word) != nullptr ? "; the verb comes first: runtime " + word
                      : prompted                 ? "; a prompt is given with -p"
                                                 : "; there are only flags here (see --help)"));
  }

  Status take_words() {
    bool words_only = false;  // behind --
    for (const std::string& word : app_.remaining()) {
      if (word == "--" && !words_only) {
        words_only = true;
        continue;
      }
      const bool flag = !words_only && word.size() > 1 && word[0] == '-';
      if (flag) return unknown_flag(word.substr(0, word.find('=')));
      if (!words_allowed_) return unexpected(word);
      arguments_.words.push_back(word);
    }
    return {};
  }

  // A flag of another verb: where it is one, or what says the same here. "" if no verb has it.
  std::string elsewhere(const std::string& name) const {
    if (arguments_.verb == Verb::kPlan && is_flag_of("max_new_tokens", name)) {
      return "; a plan has --new-tokens";
    }
    for (const Setting& setting : all_settings()) {
      const std::vector<std::string> flags = flags_of(setting);
      if (std::find(flags.begin(), flags.end(), name) == flags.end()) continue;
      for (const VerbName& verb : kVerbs) {
        if ((setting.verbs & verb_bit(verb.verb)) != 0) {
          return "; it is a flag of `runtime " + std::string(verb.name) + "`";
        }
      }
    }
    return "";
  }

  static bool is_flag_of(const char* key, const std::string& name) {
    const std::vector<std::string> flags = flags_of(*find_setting(key));
    return std::find(flags.begin(), flags.end(), name) != flags.end();
  }

  CLI::App app_;
  Arguments arguments_;
  bool words_allowed_ = false;
  std::deque<std::vector<std::string>> texts_;  // CLI11 wants a place for what it parses
  std::deque<bool> flags_;
  std::vector<std::pair<const Setting*, CLI::Option*>> options_;
};

}  // namespace

Result<Arguments> parse_arguments(int argc, const char* const* argv) {
  std::vector<std::string> words;
  for (int i = 1; i < argc; ++i) words.push_back(long_form(argv[i]));
  const VerbName* verb = nullptr;
  if (!words.empty() && !words[0].starts_with("-")) {
    verb = find_verb(words[0]);
    if (verb == nullptr) {
      std::vector<std::string> verbs;
      for (const VerbName& known : kVerbs) verbs.emplace_back(known.name);
      return bad_input("unknown verb " + quote(words[0]) + did_you_mean(words[0], verbs) +
                       "; verbs are " + join(verbs, ", "));
    }
    words.erase(words.begin());
  }
  return Parser(verb).parse(std::move(words));
}

}  // namespace rt
