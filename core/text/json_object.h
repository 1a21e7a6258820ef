// Reading one object of tokenizer.json: every field is typed, and a field that is not known is an
// error, because it might change ids. `where` grows with the path ("tokenizer.json: decoder").
#pragma once

#include <functional>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include "core/base/json_fwd.h"
#include "core/base/result.h"

namespace rt {

class JsonObject {
 public:
  // `json` must outlive the object.
  static Result<JsonObject> of(const Json& json, std::string where);

  const std::string& where() const { return where_; }
  std::string at(std::string_view field) const { return where_ + "." + std::string(field); }

  // The field, or null where it is absent or null.
  const Json* find(std::string_view field) const;
  Result<const Json*> require(std::string_view field) const;

  // nullopt and `otherwise` where the field is absent or null.
  Result<std::optional<std::string>> string_or_none(std::string_view field) const;
  Result<std::string> string(std::string_view field) const;
  Result<bool> boolean(std::string_view field, bool otherwise) const;
  // An integer in [0, largest].
  Result<std::int64_t> integer(std::string_view field, std::int64_t otherwise,
                               std::int64_t largest) const;
  // A string that is exactly one character.
  Result<std::string> character(std::string_view field, std::string_view otherwise) const;

  // Calls visit(part, its path) for the parts of a Sequence: an array, the only field beside
  // `type`. `depth` counts Sequences within Sequences.
  using VisitPart = std::function<Status(const Json& part, const std::string& where)>;
  Status sequence(std::string_view field, int depth, const VisitPart& visit) const;

  // Refuses every field that is not listed.
  Status only(std::initializer_list<std::string_view> fields) const;

 private:
  JsonObject(const Json& json, std::string where) : json_(&json), where_(std::move(where)) {}

  const Json* json_;
  std::string where_;
};

// "an object", "a string", ...: for messages.
std::string json_kind(const Json& json);

// The error for a `type` that this program does not know: "unsupported", never "corrupt".
Error unsupported(const std::string& where, std::string_view what, std::string_view supported);

}  // namespace rt
