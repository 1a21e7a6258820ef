#include "core/text/json_object.h"

#include <algorithm>

#include "core/base/json.h"
#include "core/base/text.h"
#include "core/base/utf8.h"

namespace rt {
namespace {

constexpr int kMaxDepth = 8;  // of Sequences within Sequences

}  // namespace

std::string json_kind(const Json& json) {
  switch (json.type()) {
    case Json::value_t::null:
      return "null";
    case Json::value_t::object:
      return "an object";
    case Json::value_t::array:
      return "an array";
    case Json::value_t::string:
      return "a string";
    case Json::value_t::boolean:
      return "a boolean";
    case Json::value_t::number_float:
      return "a fraction";
    default:
      return "an integer";
  }
}

Error unsupported(const std::string& where, std::string_view what, std::string_view supported) {
  return bad_input(where + ": unsupported " + quote(what) +
                   "; supported: " + std::string(supported));
}

Result<JsonObject> JsonObject::of(const Json& json, std::string where) {
  if (!json.is_object()) {
    return bad_input(where + ": expected an object, found " + json_kind(json));
  }
  return JsonObject(json, std::move(where));
}

const Json* JsonObject::find(std::string_view field) const {
  const auto found = json_->find(field);
  return found == json_->end() || found->is_null() ? nullptr : &*found;
}

Result<const Json*> JsonObject::require(std::string_view field) const {
  const Json* value = find(field);
  if (value == nullptr) return bad_input(at(field) + ": missing");
  return value;
}

Result<std::optional<std::string>> JsonObject::string_or_none(std::string_view field) const {
  const Json* value = find(field);
  if (value == nullptr) return std::optional<std::string>();
  if (!value->is_string()) {
    return bad_input(at(field) + ": expected a string, found " + json_kind(*value));
  }
  return std::optional<std::string>(value->get_ref<const std::string&>());
}

Result<std::string> JsonObject::string(std::string_view field) const {
  RT_TRY(std::optional<std::string> value, string_or_none(field));
  if (!value) return bad_input(at(field) + ": expected a string, found none");
  return *std::move(value);
}

Result<bool> JsonObject::boolean(std::string_view field, bool otherwise) const {
  const Json* value = find(field);
  if (value == nullptr) return otherwise;
  if (!value->is_boolean()) {
    return bad_input(at(field) + ": expected true or false, found " + json_kind(*value));
  }
  return value->get<bool>();
}

Result<std::int64_t> JsonObject::integer(std::string_view field, std::int64_t otherwise,
                                         std::int64_t largest) const {
  const Json* value = find(field);
  if (value == nullptr) return otherwise;
  if (!value->is_number_unsigned() ||
      value->get<std::uint64_t>() > static_cast<std::uint64_t>(largest)) {
    return bad_input(at(field) + ": expected an integer from 0 to " + std::to_string(largest) +
                     ", found " + value->dump().substr(0, 40));
  }
  return value->get<std::int64_t>();
}

Result<std::string> JsonObject::character(std::string_view field,
                                          std::string_view otherwise) const {
  RT_TRY(const std::optional<std::string> value, string_or_none(field));
  const std::string text = value.value_or(std::string(otherwise));
  if (text.empty() || utf8_length(text) != text.size()) {
    return bad_input(at(field) + ": expected one character, found " + quote(text));
  }
  return text;
}

Status JsonObject::sequence(std::string_view field, int depth, const VisitPart& visit) const {
  RT_RETURN_IF_ERROR(only({"type", field}));
  RT_TRY(const Json* parts, require(field));
  if (!parts->is_array() || depth == kMaxDepth) {
    return bad_input(at(field) + ": expected an array, at most " + std::to_string(kMaxDepth) +
                     " levels deep");
  }
  for (std::size_t i = 0; i < parts->size(); ++i) {
    RT_RETURN_IF_ERROR(visit((*parts)[i], at(field) + "[" + std::to_string(i) + "]"));
  }
  return {};
}

Status JsonObject::only(std::initializer_list<std::string_view> fields) const {
  for (const auto& item : json_->items()) {
    if (std::find(fields.begin(), fields.end(), item.key()) == fields.end()) {
      return bad_input(where_ + ": unsupported field " + quote(item.key()));
    }
  }
  return {};
}

}  // namespace rt
