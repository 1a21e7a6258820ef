#include "core/text/normalizer.h"

#include <numeric>
#include <utility>

#include "core/base/json.h"
#include "core/text/json_object.h"

namespace rt {
Result<Pattern> parse_pattern(const Json& json, const std::string& where) {
  RT_TRY(const JsonObject object, JsonObject::of(json, where));
  RT_RETURN_IF_ERROR(object.only({"String", "Regex"}));
  RT_TRY(const std::optional<std::string> literal, object.string_or_none("String"));
  if (literal) return Pattern::literal(*literal, where);
  RT_TRY(const std::string expression, object.string("Regex"));
  return Pattern::compile(expression, where);
}

Result<Normalizer> Normalizer::parse(const Json* json, const std::string& where) {
  Normalizer normalizer;
  if (json != nullptr) RT_RETURN_IF_ERROR(normalizer.append(*json, where, 0));
  return normalizer;
}

Status Normalizer::append(const Json& json, const std::string& where, int depth) {
  RT_TRY(const JsonObject object, JsonObject::of(json, where));
  RT_TRY(const std::string type, object.string("type"));
  if (type == "Sequence") {
    return object.sequence("normalizers", depth, [&](const Json& part, const std::string& here) {
      return append(part, here, depth + 1);
    });
  }
  if (type == "Prepend") {
    RT_RETURN_IF_ERROR(object.only({"type", "prepend"}));
    RT_TRY(std::string content, object.string("prepend"));
    steps_.push_back({Kind::kPrepend, std::move(content), std::nullopt});
    return {};
  }
  if (type == "Replace") {
    RT_RETURN_IF_ERROR(object.only({"type", "pattern", "content"}));
    RT_TRY(std::string content, object.string("content"));
    RT_TRY(const Json* source, object.require("pattern"));
    RT_TRY(Pattern pattern, parse_pattern(*source, object.at("pattern")));
    // Hugging Face puts the content at every place where nothing is matched.
    if (pattern.matches_nothing()) {
      return bad_input(object.at("pattern") + ": unsupported: it matches an empty text");
    }
    steps_.push_back({Kind::kReplace, std::move(content), std::move(pattern)});
    return {};
  }
  return unsupported(where, type, "Sequence, Prepend, Replace");
}

Result<Normalizer> Normalizer::sentencepiece(SentencePieceRules rules) {
  Normalizer normalizer;
  const std::string mark(rules.escape_whitespaces ? kSpaceMark : " ");
  if (rules.remove_extra_whitespaces) {
    normalizer.steps_.push_back({Kind::kSqueeze, "", std::nullopt});
  }
  if (rules.escape_whitespaces) {
    RT_TRY(Pattern space, Pattern::literal(" ", "space"));
    normalizer.steps_.push_back({Kind::kReplace, mark, std::move(space)});
  }
  if (rules.add_dummy_prefix) normalizer.steps_.push_back({Kind::kPrepend, mark, std::nullopt});
  if (rules.remove_extra_whitespaces) {
    normalizer.steps_.push_back({Kind::kTrimEnd, mark, std::nullopt});
  }
  return normalizer;
}

Result<std::string> Normalizer::apply(std::string_view text,
                                      std::vector<std::uint32_t>* origin) const {
  Mapped mapped{std::string(text), {}};
  if (origin != nullptr) {
    mapped.origin.resize(text.size());
    std::iota(mapped.origin.begin(), mapped.origin.end(), 0u);
  }
  for (const Step& step : steps_) RT_RETURN_IF_ERROR(run(step, mapped, origin != nullptr));
  if (origin != nullptr) *origin = std::move(mapped.origin);
  return std::move(mapped.text);
}

Status Normalizer::run(const Step& step, Mapped& mapped, bool wanted) {
  if (mapped.text.empty()) return {};
  Mapped out;
  out.text.reserve(mapped.text.size() + step.content.size());
  const auto put = [&](std::string_view text, std::size_t from, bool copied) {
    out.text += text;
    for (std::size_t i = 0; wanted && i < text.size(); ++i) {
      out.origin.push_back(mapped.origin[copied ? from + i : from]);
    }
  };
  const std::string_view text = mapped.text;
  if (step.kind == Kind::kPrepend) {
    put(step.content, 0, false);
    put(text, 0, true);
  } else if (step.kind == Kind::kReplace) {
    RT_RETURN_IF_ERROR(
        step.pattern->for_each(text, [&](std::size_t begin, std::size_t end, bool is_match) {
          put(is_match ? step.content : text.substr(begin, end - begin), begin, !is_match);
          return Status();
        }));
  } else if (step.kind == Kind::kTrimEnd) {
    std::size_t end = text.size();
    while (text.substr(0, end).ends_with(step.content)) end -= step.content.size();
    put(text.substr(0, end), 0, true);
  } else {  // kSqueeze: no space in front, single ones within and at the end
    for (std::size_t i = 0; i < text.size(); ++i) {
      const bool keep = text[i] != ' ' || (!out.text.empty() && out.text.back() != ' ');
      if (keep) put(text.substr(i, 1), i, true);
    }
  }
  mapped = std::move(out);
  return {};
}

}  // namespace rt
