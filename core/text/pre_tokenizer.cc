#include "core/text/pre_tokenizer.h"

#include <algorithm>
#include <utility>

#include "core/text/byte_level.h"
#include "core/text/json_object.h"
#include "core/text/normalizer.h"

namespace rt {
namespace {

constexpr int kMaxDepth = 8;  // of Sequences within Sequences

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

Status PreTokenizer::append(const Json& json, const std::string& where, int depth,
                            std::vector<Stage>& stages) {
  RT_TRY(const JsonObject object, JsonObject::of(json, where));
  RT_TRY(const std::string type, object.string("type"));
  Stage stage;
  if (type == "Sequence") {
    RT_RETURN_IF_ERROR(object.only({"type", "pretokenizers"}));
    RT_TRY(const Json* parts, object.require("pretokenizers"));
    if (!parts->is_array() || depth == kMaxDepth) {
      return bad_input(object.at("pretokenizers") + ": expected an array, at most " +
                       std::to_string(kMaxDepth) + " levels deep");
    }
    for (std::size_t i = 0; i < parts->size(); ++i) {
      const std::string here = object.at("pretokenizers") + "[" + std::to_string(i) + "]";
      RT_RETURN_IF_ERROR(append((*parts)[i], here, depth + 1, stages));
    }
    return {};
  }
  if (type == "Split") {
    RT_RETURN_IF_ERROR(object.only({"type", "pattern", "behavior", "invert"}));
    RT_TRY(const Json* source, object.require("pattern"));
    RT_TRY(stage.pattern, parse_pattern(*source, object.at("pattern")));
    RT_TRY(stage.invert, object.boolean("invert", false));
    RT_TRY(const std::string name, object.string("behavior"));
    constexpr std::string_view kNames[] = {"Removed", "Isolated", "MergedWithPrevious",
                                           "MergedWithNext", "Contiguous"};
    const auto found = std::find(std::begin(kNames), std::end(kNames), name);
    if (found == std::end(kNames)) {
      return unsupported(object.at("behavior"), name,
                         "Removed, Isolated, MergedWithPrevious, MergedWithNext, Contiguous");
    }
    stage.behavior = static_cast<Behavior>(found - std::begin(kNames));
  } else if (type == "ByteLevel") {
    RT_RETURN_IF_ERROR(object.only({"type", "add_prefix_space", "trim_offsets", "use_regex"}));
    RT_TRY(const bool prefix, object.boolean("add_prefix_space", true));
    RT_TRY(const bool use_regex, object.boolean("use_regex", true));
    stage.prefix = " ";
    stage.prepend = prefix ? Prepend::kAlways : Prepend::kNever;
    if (use_regex) {
      RT_TRY(stage.pattern, Pattern::compile(kGpt2Pattern, where));
    }
    stage.byte_level = true;
  } else if (type == "Metaspace") {
    RT_RETURN_IF_ERROR(object.only(
        {"type", "replacement", "str_rep", "add_prefix_space", "prepend_scheme", "split"}));
    RT_TRY(stage.prefix, object.character("replacement", kSpaceMark));
    stage.space = stage.prefix;
    RT_TRY(const bool add_prefix, object.boolean("add_prefix_space", true));
    RT_TRY(const std::optional<std::string> scheme, object.string_or_none("prepend_scheme"));
    const std::string name = scheme.value_or(add_prefix ? "always" : "never");
    if (name != "always" && name != "first" && name != "never") {
      return unsupported(object.at("prepend_scheme"), name, "always, first, never");
    }
    stage.prepend = name == "always"  ? Prepend::kAlways
                    : name == "first" ? Prepend::kFirst
                                      : Prepend::kNever;
    RT_TRY(const bool split, object.boolean("split", true));
    if (split) {
      RT_TRY(stage.pattern, Pattern::literal(stage.prefix, where));
    }
    stage.behavior = Behavior::kMergedWithNext;
  } else if (type == "Digits") {
    RT_RETURN_IF_ERROR(object.only({"type", "individual_digits"}));
    RT_TRY(const bool individual, object.boolean("individual_digits", false));
    RT_TRY(stage.pattern, Pattern::compile("\\p{N}", where));
    stage.behavior = individual ? Behavior::kIsolated : Behavior::kContiguous;
  } else {
    return unsupported(where, type, "Sequence, Split, ByteLevel, Metaspace, Digits");
  }
  stages.push_back(std::move(stage));
  return {};
}

bool PreTokenizer::cuts() const {
  return std::any_of(stages_.begin(), stages_.end(),
                     [](const Stage& stage) { return stage.pattern.has_value(); });
}

Status PreTokenizer::split(std::string_view text, bool at_start, const Sink& sink) const {
  return run(0, text, at_start, sink);
}

Status PreTokenizer::run(std::size_t index, std::string_view text, bool at_start,
                         const Sink& sink) const {
  if (text.empty()) return {};
  if (index == stages_.size()) return sink(text);
  const Stage& stage = stages_[index];
  std::string rewritten;
  if (!stage.space.empty()) {
    for (const char c : text) {
      if (c == ' ') {
        rewritten += stage.space;
      } else {
        rewritten += c;
      }
    }
    text = rewritten;
  }
  const bool wanted = stage.prepend == Prepend::kAlways ||
                      (stage.prepend == Prepend::kFirst && at_start);
  if (wanted && !text.starts_with(stage.prefix)) {
    rewritten = stage.prefix + std::string(text);
    text = rewritten;
  }
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
