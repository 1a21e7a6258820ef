#include "tools/runtime/setting.h"

#include <charconv>
#include <cmath>
#include <map>

#include "core/base/bytes.h"
#include "core/base/text.h"

namespace rt {
namespace {

using enum ValueKind;

constexpr std::uint32_t kGen = verb_bit(Verb::kGenerate);
constexpr std::uint32_t kTalk = verb_bit(Verb::kChat);
constexpr std::uint32_t kRun = kGen | kTalk;
constexpr std::uint32_t kPlanning = verb_bit(Verb::kPlan);
constexpr std::uint32_t kScoring = verb_bit(Verb::kPerplexity);
constexpr std::uint32_t kQuantizing = verb_bit(Verb::kQuantize);
constexpr std::uint32_t kWords = verb_bit(Verb::kTokenize) | verb_bit(Verb::kRender);
constexpr std::uint32_t kListing = verb_bit(Verb::kPlugins);
constexpr std::uint32_t kSpeed = verb_bit(Verb::kBench);
// One value each; `bench` takes lists of the same flags.
constexpr std::uint32_t kSingle = kRun | kPlanning | kScoring | kListing | verb_bit(Verb::kGraph);
constexpr std::uint32_t kModel = kSingle | kSpeed;
constexpr std::uint32_t kDraw = kRun | kSpeed;
constexpr std::uint32_t kAll = kModel | kWords | kQuantizing;
constexpr double kMost = 9.2e18;
constexpr double kMostSeed = 18446744073709551615.0;  // 64 bits

// clang-format off
constexpr Setting kSettings[] = {
    // What runs.
    {"graph", "--graph", kText, "", 0, 0, kAll, false, "FILE",
     "the model: a graph file, or the name of a shipped one (phi3)"},
    {"weights", "--weights,-m,--model,--model-dir,--model-path", kText, "", 0, 0, kAll, false, "DIR",
     "folder of the weights, 'demo' (shipped) or 'random'; default: $RUNTIME_MODELS/<name>, the Hugging "
     "Face cache"},
    {"config", "--config", kText, "", 0, 0, kModel, false, "FILE",
     "the deployment: a config file, or the name of a shipped one"},
    {"set", "--set,--overrides", kTexts, "", 0, 0, kModel, false, "KEY=VALUE",
     "set one key of the config; repeatable"},
    {"print_config", "--print-config", kFlag, "false", 0, 0, kModel, false, "",
     "print every setting with its value and origin, and exit"},

    // What it is asked.
    {"prompt", "-p,--prompt", kText, "", 0, 0, kRun | kWords, false, "TEXT", "the prompt"},
    {"file", "-f,--file,--prompt-file", kText, "", 0, 0, kRun | kWords | kScoring, false, "FILE",
     "read the prompt from a file; - is stdin"},
    {"prompt_ids", "--prompt-ids", kText, "", 0, 0, kGen, false, "1,2,3", "the prompt as token ids"},
    {"prompts", "--prompts", kText, "", 0, 0, kGen, false, "FILE.jsonl",
     "many prompts, one JSON object or string per line"},
    {"parallel", "--parallel,--max-num-seqs", kInteger, "8", 1, 4096,
     kGen | kPlanning, true, "B", "how many of --prompts run at once (-np); in a plan one, unless given"},
    {"system", "--system,--system-prompt", kText, "", 0, 0, kTalk, true, "TEXT",
     "the system prompt (-sys)"},

    // How much and until when.
    {"max_new_tokens", "-n,--max-new-tokens,--n-predict,--predict,--max-tokens", kCount, "-1", -1,
     kMost, kRun, true, "N", "tokens of an answer; -1: until it ends or the context is full"},
    {"context", "-c,--ctx-size,--max-model-len,--context-length", kCount, "0", 0, kMost, kSingle, true,
     "N", "context in tokens; 0: the model's"},
    {"stop", "--stop,-r,--reverse-prompt", kTexts, "", 0, 0, kRun, true, "TEXT",
     "end the answer before this text; repeatable"},
    {"ignore_eos", "--ignore-eos", kFlag, "false", 0, 0, kRun, true, "",
     "go on past the tokens that end an answer"},

    // How tokens are drawn.
    {"sampling.temperature", "--temp,--temperature", kReal, "0.8", 0, 1000, kDraw, true, "X",
     "0 is greedy; bench is, unless told"},
    {"sampling.top_k", "--top-k", kInteger, "40", 0, 2147483647, kDraw, true, "N",
     "draw from the N likeliest; 0: all"},
    {"sampling.top_p", "--top-p", kReal, "0.95", 0, 1, kDraw, true, "X",
     "draw from the likeliest that together have this probability", "", true},
    {"sampling.min_p", "--min-p", kReal, "0.05", 0, 1, kDraw, true, "X",
     "leave out what is less likely than X times the likeliest"},
    {"sampling.repeat_penalty", "--repeat-penalty", kReal, "1", 0, 1000, kRun, true, "X",
     "penalty on repeated tokens; 1: none", "", true},
    {"sampling.repeat_last_n", "--repeat-last-n", kInteger, "64", -1, 1048576, kRun, true, "N",
     "tokens the penalties look back at; -1: the whole context"},
    {"sampling.presence_penalty", "--presence-penalty", kReal, "0", -1000, 1000, kRun, true, "X",
     "subtracted once from every token already there"},
    {"sampling.frequency_penalty", "--frequency-penalty", kReal, "0", -1000, 1000, kRun, true, "X",
     "subtracted for every time a token is already there"},
    {"sampling.seed", "-s,--seed", kInteger, "-1", -1, kMostSeed, kRun, true, "N",
     "-1: a random one, which is printed"},

    // Where and how it runs.
    {"device", "--device", kText, "cpu", 0, 0, kModel, true, "NAME[:N]",
     "the device; `plan` also takes a FILE that describes one, or the name of a shipped one (laptop)"},
    {"device_options", "", kPairs, "", 0, 0, kModel, true, "", "options of the device"},
    {"weights_format", "--weights-format", kFormats, "", 0, 0, kSingle | kQuantizing, true, "FORMAT",
     "elements of the weights, auto: as the checkpoint has them; or linear=nf4,lm_head=int8",
     "auto|f32|f16|bf16|int8|nf4|nf4-dq"},
    {"threads", "-t,--threads", kInteger, "0", 0, 1024, kSingle, true, "N",
     "0: the physical cores this process may use"},
    {"isa", "--isa", kText, "all", 0, 0, kModel, true, "NAME,NAME",
     "instruction sets to use at most; none: the baseline; for tests and comparisons"},
    {"planner.name", "--planner", kText, "elastic", 0, 0, kSingle, true, "NAME",
     "how the KV cache gets its memory; `plan` also takes `all`"},
    {"planner.options", "", kPairs, "", 0, 0, kModel, true, "", "options of the planner"},
    {"kv.dtype", "--kv-dtype,--cache-type-k,--kv-cache-dtype", kText, "auto", 0, 0, kSingle, true,
     "TYPE", "elements of the KV cache (-ctk)", "auto|f32|f16|bf16|int8|q8_0|q4_0"},
    {"memory_limit", "--memory-limit", kSize, "", 0, 0, kModel, true, "SIZE",
     "most device memory to use; default: what is available"},
    {"step_tokens", "--step-tokens,--ubatch-size", kCount, "512", 1, 65536, kModel, true, "N",
     "most tokens computed at once; longer prompts go in chunks"},
    {"operators.prefer", "--prefer", kNames, "", 0, 0, kModel, true, "NAME",
     "implementations or plugins to prefer, the first one most"},
    {"operators.exact", "--exact", kFlag, "false", 0, 0, kModel, true, "",
     "products never round their inputs"},
    {"operators.fuse", "", kFlag, "true", 0, 0, kModel, true, "",
     "fused operators run in place of what they are made of, where they can"},
    {"operators.blocking", "", kFlag, "false", 0, 0, kModel, true, "",
     "waits for each operator, to find the one that a device fails in"},
    {"operators.pin", "", kPairs, "", 0, 0, kModel, true, "", "operator or node: implementation"},
    {"plugins", "--plugin", kTexts, "", 0, 0, kModel, true, "FILE", "load this plugin; repeatable"},

    // What is shown.
    {"json", "--json", kFlag, "false", 0, 0, kModel | kWords, false, "", "print JSON on stdout; chat: with -p"},
    {"logits", "--logits", kText, "", 0, 0, kGen, false, "FILE",
     "write the logits of each generated token, float32 little-endian"},
    {"echo", "--echo", kFlag, "false", 0, 0, kGen, false, "", "print the prompt before the answer"},
    {"stats", "--stats", kFlag, "false", 0, 0, kRun, false, "",
     "print speed and memory on stderr (a terminal gets them anyway)"},
    {"trace", "--trace", kText, "", 0, 0, kRun | kSpeed, false, "FILE",
     "write steps and memory events in Chrome's trace format"},
    {"ops", "--ops", kFlag, "false", 0, 0, kRun | kSpeed, false, "",
     "bench: a table of operators; --trace: operators within steps"},
    {"no_history", "--no-history", kFlag, "false", 0, 0, kTalk, false, "",
     "neither read nor write the history of the prompt"},
    {"verbose", "-v,--verbose", kFlag, "false", 0, 0, kAll, false, "",
     "say more: the plugins found, what runs each operator, what was loaded"},
    {"quiet", "-q,--quiet", kFlag, "false", 0, 0, kAll, false, "", "only errors and answers"},
    {"no_color", "--no-color", kFlag, "false", 0, 0, kAll, false, "", "no colours"},
    {"no_progress", "--no-progress", kFlag, "false", 0, 0, kRun | kScoring | kSpeed, false, "",
     "no progress bar"},

    // Of single verbs.
    {"prompt_tokens", "--prompt-tokens", kCount, "0", 0, kMost, kPlanning, false, "N",
     "plan for a prompt of N tokens"},
    {"new_tokens", "--new-tokens", kCount, "0", 0, kMost, kPlanning, false, "N",
     "plan for N new tokens"},
    {"shared_tokens", "--shared-tokens", kCount, "0", 0, kMost, kPlanning, false, "N",
     "plan for --parallel prompts whose first N tokens are the same"},
    {"stride", "--stride", kCount, "0", 0, kMost, kScoring, false, "N",
     "new tokens of each window; 0: half of --ctx-size"},
    {"bench.prompt", "-p,--n-prompt", kNames, "", 0, 0, kSpeed, false, "N,N",
     "pp: prompts of N tokens; 0: none [512]"},
    {"bench.generated", "-n,--n-gen", kNames, "", 0, 0, kSpeed, false, "N,N",
     "tg: N tokens one by one; 0: none [128]"},
    {"bench.pairs", "--prompt-gen", kTexts, "", 0, 0, kSpeed, false, "P,N",
     "a prompt of P tokens and N one by one as one test; repeatable (-pg)"},
    {"bench.depth", "-d,--n-depth", kNames, "", 0, 0, kSpeed, false, "N,N",
     "in a cache that holds N tokens already [0]"},
    {"bench.threads", "-t,--threads", kNames, "", 0, 0, kSpeed, false, "N,N",
     "0: the physical cores this process may use"},
    {"bench.weights_format", "--weights-format", kTexts, "", 0, 0, kSpeed, false, "FORMAT,FORMAT",
     "elements of the weights; linear=nf4,lm_head=int8 is one; repeatable"},
    {"bench.kv_dtype", "--kv-dtype,--cache-type-k,--kv-cache-dtype", kNames, "", 0, 0, kSpeed,
     false, "TYPE,TYPE", "elements of the KV cache (-ctk)"},
    {"bench.planner", "--planner", kNames, "", 0, 0, kSpeed, false, "NAME,NAME",
     "how the KV cache gets its memory"},
    {"bench.repetitions", "-r,--repetitions", kInteger, "5", 1, 100000, kSpeed, false, "N",
     "how often each test runs"},
    {"bench.output", "-o,--output", kText, "md", 0, 0, kSpeed, false, "FORMAT",
     "md, csv, json or jsonl", "md|csv|json|jsonl"},
    {"bench.no_warmup", "--no-warmup", kFlag, "false", 0, 0, kSpeed, false, "",
     "do not run each test once uncounted"},
    {"bench.probe", "--probe", kSize, "1GiB", 0, 0, kSpeed, false, "SIZE",
     "memory that is read beside each repetition, to know the bandwidth"},
    {"bench.no_probe", "--no-probe", kFlag, "false", 0, 0, kSpeed, false, "",
     "do not measure what the machine could do"},
    {"turns", "--turns", kText, "", 0, 0, kPlanning, false, "FILE",
     "plan for a chat: a list of [prompt, new] tokens per turn, YAML or JSON"},
    {"svg", "--svg", kText, "", 0, 0, kPlanning, false, "FILE",
     "draw the memory of each planner over the tokens"},
    {"out", "--out", kText, "", 0, 0, kQuantizing, false, "DIR", "the new folder to write"},
    {"node", "--node", kText, "*", 0, 0, kListing, false, "GLOB", "only nodes of such a name"},
    {"detokenize", "--detokenize", kFlag, "false", 0, 0, verb_bit(Verb::kTokenize), false, "",
     "from token ids to text"},
    {"no_special", "--no-special", kFlag, "false", 0, 0, verb_bit(Verb::kTokenize), false, "",
     "add no BOS or EOS; leave special tokens out of text"},
    {"parse_special", "--parse-special", kFlag, "false", 0, 0, verb_bit(Verb::kTokenize), false, "",
     "recognise special tokens in the text"},
    {"no_generation_prompt", "--no-generation-prompt", kFlag, "false", 0, 0,
     verb_bit(Verb::kRender), false, "", "do not open the assistant's turn"},
};
// clang-format on

std::string range_text(const Setting& setting) {
  const auto number = [](double value) {
    char text[32];
    const auto end = std::to_chars(text, text + sizeof text, value).ptr;
    return std::string(text, end);
  };
  if (setting.maximum == kMostSeed) return "in [-1, 18446744073709551615]";
  if (setting.maximum >= kMost) return "of at least " + number(setting.minimum);
  return std::string("in ") + (setting.open ? "(" : "[") + number(setting.minimum) + ", " +
         number(setting.maximum) + "]";
}

template <class T>
bool parse_whole(const std::string& text, T* out) {
  const char* end = text.data() + text.size();
  const auto [rest, code] = std::from_chars(text.data(), end, *out);
  return code == std::errc() && rest == end;
}

Error expected(const std::string& what, const std::string& text) {
  return bad_input("expected " + what + ", found " + quote(text));
}

Status check_real(const Setting& setting, const std::string& text) {
  double value = 0;
  const bool above = parse_whole(text, &value) && std::isfinite(value) &&
                     (setting.open ? value > setting.minimum : value >= setting.minimum);
  if (above && value <= setting.maximum) return {};
  return expected("a number " + range_text(setting), text);
}

Status check_integer(const Setting& setting, const std::string& text) {
  std::int64_t value = 0;
  if (parse_whole(text, &value) && static_cast<double>(value) >= setting.minimum &&
      static_cast<double>(value) <= setting.maximum) {
    return {};
  }
  std::uint64_t seed = 0;
  if (setting.maximum == kMostSeed && parse_whole(text, &seed)) return {};
  return expected("a whole number " + range_text(setting), text);
}

Status check_count(const Setting& setting, const std::string& text) {
  if (text == "-1" && setting.minimum < 0) return {};
  const bool digits = !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
  const Result<std::uint64_t> count = parse_count(text);
  if (digits && !count.ok() && setting.maximum >= kMost) {
    return expected("at most 9200000000000000000 tokens", text);
  }
  if (!count.ok() || static_cast<double>(*count) < setting.minimum ||
      static_cast<double>(*count) > setting.maximum) {
    return expected("a number of tokens " + range_text(setting) + " (4096, 4k)", text);
  }
  return {};
}

Status check_choice(const Setting& setting, const std::string& text) {
  std::vector<std::string> choices(1);
  for (const char* c = setting.choices; *c != '\0'; ++c) {
    if (*c == '|') {
      choices.emplace_back();
    } else {
      choices.back() += *c;
    }
  }
  for (const std::string& choice : choices) {
    if (choices.size() == 1 || choice == text) return {};
  }
  return bad_input("expected " + join(choices, ", ") + ", found " + quote(text) +
                   did_you_mean(text, choices));
}

// "nf4", or "lm_head=int8".
Status check_format(const Setting& setting, const std::string& text) {
  const std::size_t equals = text.find('=');
  if (equals == std::string::npos) return check_choice(setting, text);
  if (equals == 0) return expected("FORMAT or NAME=FORMAT", text);
  return check_choice(setting, text.substr(equals + 1));
}

}  // namespace

std::span<const Setting> all_settings() {
  return kSettings;
}

const Setting* find_setting(std::string_view key) {
  for (const Setting& setting : kSettings) {
    if (key == setting.key) return &setting;
  }
  return nullptr;
}

std::vector<std::string> flags_of(const Setting& setting) {
  std::vector<std::string> flags;
  if (*setting.flags == '\0') return flags;
  flags.emplace_back();
  for (const char* c = setting.flags; *c != '\0'; ++c) {
    if (*c == ',') {
      flags.emplace_back();
    } else {
      flags.back() += *c;
    }
  }
  return flags;
}

std::string flag_name(const Setting& setting) {
  for (const std::string& flag : flags_of(setting)) {
    if (flag.starts_with("--")) return flag;
  }
  return "";
}

namespace {
// What a person may call a setting: its key, the last part of it, its flags.
std::vector<std::string> names_of(const Setting& setting) {
  const std::string key = setting.key;
  std::vector<std::string> names{key, key.substr(key.rfind('.') + 1)};
  for (const std::string& flag : flags_of(setting)) {
    names.push_back(flag.substr(flag.find_first_not_of('-')));
  }
  return names;
}
}  // namespace

std::string near_keys(const std::string& path) {
  std::map<std::string, std::vector<std::string>> keys_of_name;
  std::vector<std::string> below;
  for (const Setting& setting : kSettings) {
    if (!setting.in_config) continue;
    const std::string shown =
        quote(setting.key + std::string(setting.kind == kPairs ? ".NAME" : ""));
    if (std::string_view(setting.key).starts_with(path + ".")) below.push_back(shown);
    for (const std::string& name : names_of(setting)) {
      std::vector<std::string>& keys = keys_of_name[name];
      if (keys.empty() || keys.back() != shown) keys.push_back(shown);
    }
  }
  std::vector<std::string> names;
  for (const auto& [name, keys] : keys_of_name) names.push_back(name);
  const std::vector<std::string>& keys = below.empty() ? keys_of_name[nearest(path, names)] : below;
  return keys.empty() ? "" : "; did you mean " + join(keys, " or ") + "?";
}

std::string variable_name(const Setting& setting) {
  const std::string flag = flag_name(setting);
  // Plugins have RUNTIME_PLUGIN_PATH, with its own rules; --set would be set twice.
  const std::string_view key = setting.key;
  if (flag.empty() || key == "plugins" || key == "set") return "";
  std::string name = "RUNTIME_";
  for (const char c : flag.substr(2)) {
    name += c == '-' ? '_' : static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
  }
  return name;
}

Status check_setting(const Setting& setting, const std::string& text) {
  switch (setting.kind) {
    case kText:
      return check_choice(setting, text);
    case kFlag:
      if (text == "true" || text == "false") return {};
      return expected("true or false", text);
    case kInteger:
      return check_integer(setting, text);
    case kReal:
      return check_real(setting, text);
    case kCount:
      return check_count(setting, text);
    case kSize: {
      const Result<std::uint64_t> size = parse_bytes(text);
      if (size.ok() && *size > 0) return {};
      return expected(size.ok()
                          ? "a size above 0 (8GiB, 512MiB)"
                          : "a size in B, KiB, MiB, GiB, TiB or kB, MB, GB, TB (8GiB, 512MiB)",
                      text);
    }
    case kPairs: {
      const std::size_t equals = text.find('=');
      if (equals != std::string::npos && equals > 0) return {};
      return expected("NAME=VALUE", text);
    }
    case kFormats:
      return check_format(setting, text);
    case kTexts:
    case kNames:
      if (!text.empty()) return {};
      return bad_input("expected a text, found an empty one");
  }
  return {};
}

double real_value(const std::string& text) {
  double value = 0;
  parse_whole(text, &value);
  return value;
}

std::uint64_t unsigned_value(const std::string& text) {
  std::uint64_t value = 0;
  parse_whole(text, &value);
  return value;
}

std::int64_t integer_value(const std::string& text) {
  std::int64_t value = 0;
  parse_whole(text, &value);
  return value;
}

}  // namespace rt
