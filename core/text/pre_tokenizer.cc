#include "core/text/pre_tokenizer.h"

#include <algorithm>
#include <utility>

#include "core/base/json.h"
#include "core/text/byte_level.h"
#include "core/text/json_object.h"
#include "core/text/normalizer.h"

namespace rt {
namespace {

constexpr std::string_view kGpt2Pattern =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

// A stretch waiting for its neighbours' verdict.
struct Pending {
  std::size_t begin = 0;
  std::size_t end = 0;
  bool any = false;
};

}  // namespace

Result<PreTokenizer> PreTokenizer::parse(const Json* json, const std::string& where) {
  PreTokenizer pre_tokenizer;
  if (json != nullptr) RT_RETURN_IF_ERROR(append(*json, where, 0, pre_tokenizer.stages_));
  return pre_tokenizer;
}

Result<PreTokenizer::Stage> PreTokenizer::parse_split(const JsonObject& object) {
  RT_RETURN_IF_ERROR(object.only({"type", "pattern", "behavior", "invert"}));
  Stage stage;
  RT_TRY(const Json* source, object.require("pattern"));
  RT_TRY(stage.pattern, parse_pattern(*source, object.at("pattern")));
  RT_TRY(stage.invert, object.boolean("invert", false));
  RT_TRY(const std::string name, object.string("behavior"));
  constexpr std::string_view kNames[] = {"Removed", "Isolated", "MergedWithPrevious",
                                         "MergedWithNext", "Contiguous"};  // as in Behavior
  const auto found = std::find(std::begin(kNames), std::end(kNames), name);
  if (found == std::end(kNames)) {
    return unsupported(object.at("behavior"), name,
                       "Removed, Isolated, MergedWithPrevious, MergedWithNext, Contiguous");
  }
  stage.behavior = static_cast<Behavior>(found - std::begin(kNames));
  return stage;
}

Result<PreTokenizer::Stage> PreTokenizer::parse_byte_level(const JsonObject& object) {
  RT_RETURN_IF_ERROR(object.only({"type", "add_prefix_space", "trim_offsets", "use_regex"}));
  Stage stage;
  RT_TRY(const bool prefix, object.boolean("add_prefix_space", true));
  RT_TRY(const bool use_regex, object.boolean("use_regex", true));
  stage.prefix = " ";
  stage.prepend = prefix ? Prepend::kAlways : Prepend::kNever;
  if (use_regex) {
    RT_TRY(stage.pattern, Pattern::compile(kGpt2Pattern, object.where()));
  }
  stage.byte_level = true;
  return stage;
}

Result<PreTokenizer::Stage> PreTokenizer::parse_metaspace(const JsonObject& object) {
  RT_RETURN_IF_ERROR(object.only(
      {"type", "replacement", "str_rep", "add_prefix_space", "prepend_scheme", "split"}));
  Stage stage;
  RT_TRY(stage.prefix, object.character("replacement", kSpaceMark));
  stage.space = stage.prefix;
  // Older files say add_prefix_space where newer ones say prepend_scheme.
  RT_TRY(const bool add_prefix, object.boolean("add_prefix_space", true));
  RT_TRY(const std::optional<std::string> scheme, object.string_or_none("prepend_scheme"));
  const std::string name = scheme.value_or(add_prefix ? "always" : "never");
  if (name != "always" && name != "first" && name != "never") {
    return unsupported(object.at("prepend_scheme"), name, "always, first, never");
  }
  if (name == "always") stage.prepend = Prepend::kAlways;
  if (name == "first") stage.prepend = Prepend::kFirst;
  RT_TRY(const bool split, object.boolean("split", true));
  if (split) {
    RT_TRY(stage.pattern, Pattern::literal(stage.prefix, object.where()));
  }
  stage.behavior = Behavior::kMergedWithNext;
  return stage;
}

Result<PreTokenizer::Stage> PreTokenizer::parse_digits(const JsonObject& object) {
  RT_RETURN_IF_ERROR(object.only({"type", "individual_digits"}));
  Stage stage;
  RT_TRY(const bool individual, object.boolean("individual_digits", false));
  RT_TRY(stage.pattern, Pattern::compile("\\p{N}", object.where()));
  stage.behavior = individual ? Behavior::kIsolated : Behavior::kContiguous;
  return stage;
}

Result<PreTokenizer::Stage> PreTokenizer::parse_stage(const JsonObject& object,
                                                      const std::string& type) {
  if (type == "Split") return parse_split(object);
  if (type == "ByteLevel") return parse_byte_level(object);
  if (type == "Metaspace") return parse_metaspace(object);
  if (type == "Digits") return parse_digits(object);
  return unsupported(object.where(), type, "Sequence, Split, ByteLevel, Metaspace, Digits");
}

Status PreTokenizer::append(const Json& json, const std::string& where, int depth,
                            std::vector<Stage>& stages) {
  RT_TRY(const JsonObject object, JsonObject::of(json, where));
  RT_TRY(const std::string type, object.string("type"));
  if (type != "Sequence") {
    RT_TRY(Stage stage, parse_stage(object, type));
    stages.push_back(std::move(stage));
    return {};
  }
  return object.sequence("pretokenizers", depth, [&](const Json& part, const std::string& here) {
    return append(part, here, depth + 1, stages);
  });
}

bool PreTokenizer::cuts() const {
  return std::any_of(stages_.begin(), stages_.end(),
                     [](const Stage& stage) { return stage.pattern.has_value(); });
}

Status PreTokenizer::split(std::string_view text, bool at_start, const Sink& sink) const {
  return run(0, text, at_start, sink);
}

// What a stage does before it cuts: spaces become marks, a prefix is put in front. `storage` holds
// the text where it had to change.
std::string_view PreTokenizer::rewrite(const Stage& stage, std::string_view text, bool at_start,
                                       std::string& storage) {
  if (!stage.space.empty()) {
    for (const char c : text) storage += c == ' ' ? stage.space : std::string(1, c);
    text = storage;
  }
  const bool wanted =
      stage.prepend == Prepend::kAlways || (stage.prepend == Prepend::kFirst && at_start);
  if (!wanted || text.starts_with(stage.prefix)) return text;
  storage = stage.prefix + std::string(text);
  return storage;
}

Status PreTokenizer::run(std::size_t index, std::string_view given, bool at_start,
                         const Sink& sink) const {
  if (given.empty()) return {};
  if (index == stages_.size()) return sink(given);
  const Stage& stage = stages_[index];
  std::string storage;
  const std::string_view text = rewrite(stage, given, at_start, storage);
  std::string spelled;
  return cut(stage, text, [&](std::size_t begin, std::size_t end, bool) {
    std::string_view stretch = text.substr(begin, end - begin);
    if (stage.byte_level) {
      spelled.clear();
      byte_level_encode(stretch, spelled);
      stretch = spelled;
    }
    return run(index + 1, stretch, at_start && begin == 0, sink);
  });
}

Status PreTokenizer::cut(const Stage& stage, std::string_view text, const Pattern::Visit& visit) {
  if (!stage.pattern) return visit(0, text.size(), false);
  Pending pending;
  bool pending_matched = false;  // the last stretch that joined `pending` was a match
  const auto release = [&]() -> Status {
    if (!std::exchange(pending.any, false)) return {};
    return visit(pending.begin, pending.end, false);
  };
  const auto hold = [&](std::size_t begin, std::size_t end, bool join) -> Status {
    if (!join) {
      RT_RETURN_IF_ERROR(release());
      pending.begin = begin;
    }
    pending.end = end;
    pending.any = true;
    return {};
  };
  RT_RETURN_IF_ERROR(stage.pattern->for_each(
      text, [&](std::size_t begin, std::size_t end, bool raw_match) -> Status {
        const bool is_match = raw_match != stage.invert;
        const bool previous = std::exchange(pending_matched, is_match);
        switch (stage.behavior) {
          case Behavior::kRemoved:
            return is_match ? Status() : visit(begin, end, false);
          case Behavior::kIsolated:
            return visit(begin, end, false);
          case Behavior::kContiguous:
            return hold(begin, end, pending.any && previous == is_match);
          case Behavior::kMergedWithPrevious:
            return hold(begin, end, pending.any && is_match && !previous);
          case Behavior::kMergedWithNext:
            return hold(begin, end, pending.any && !is_match && previous);
        }
        return {};
      }));
  return release();
}

}  // namespace rt
