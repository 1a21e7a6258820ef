// The pre-tokenizer: cuts normalized text into the stretches (words) within which the model merges.
// Each stage hands its stretches to the next one, so that nothing but the current one is stored.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/json_fwd.h"
#include "core/base/result.h"
#include "core/text/json_object.h"
#include "core/text/pattern.h"

namespace rt {

class PreTokenizer {
 public:
  // One stretch: the whole text.
  PreTokenizer() = default;

  // Reads `pre_tokenizer` of tokenizer.json; null leaves the text whole.
  static Result<PreTokenizer> parse(const Json* json, const std::string& where);

  // False if the text stays in one stretch.
  bool cuts() const;

  using Sink = std::function<Status(std::string_view stretch)>;
  // `at_start`: the text begins the whole sequence (Metaspace's "first").
  Status split(std::string_view text, bool at_start, const Sink& sink) const;

 private:
  enum class Behavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };
  enum class Prepend { kNever, kFirst, kAlways };
  struct Stage {
    std::string prefix;  // put in front unless the text starts with it
    Prepend prepend = Prepend::kNever;
    std::string space;               // written for ' '; empty: spaces stay
    std::optional<Pattern> pattern;  // cut here; none: whole
    Behavior behavior = Behavior::kIsolated;
    bool invert = false;      // what the pattern matches and what it does not change roles
    bool byte_level = false;  // afterwards, spell bytes in the byte-level alphabet
  };

  static Result<Stage> parse_split(const JsonObject& object);
  static Result<Stage> parse_byte_level(const JsonObject& object);
  static Result<Stage> parse_metaspace(const JsonObject& object);
  static Result<Stage> parse_digits(const JsonObject& object);
  static Result<Stage> parse_stage(const JsonObject& object, const std::string& type);
  static Status append(const Json& json, const std::string& where, int depth,
                       std::vector<Stage>& stages);
  Status run(std::size_t index, std::string_view text, bool at_start, const Sink& sink) const;
  static std::string_view rewrite(const Stage& stage, std::string_view text, bool at_start,
                                  std::string& storage);
  static Status cut(const Stage& stage, std::string_view text, const Pattern::Visit& visit);

  std::vector<Stage> stages_;
};

}  // namespace rt
