#include "core/base/json.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "core/base/file.h"
#include "core/base/lfs_pointer.h"
#include "core/base/text.h"

namespace rt {
namespace {

// "line 3, column 7" of the byte, counted from 1, at which the parser gave up.
std::string place_of(std::string_view text, std::size_t byte) {
  const std::string_view before = text.substr(0, byte == 0 ? 0 : byte - 1);
  const auto line = std::count(before.begin(), before.end(), '\n') + 1;
  const std::size_t begin = before.rfind('\n') + 1;  // npos + 1 is 0
  return "line " + std::to_string(line) + ", column " + std::to_string(before.size() - begin + 1);
}

// "[json.exception.parse_error.101] parse error at line 1, column 2: syntax error while parsing
// value - invalid literal; last read: 'x'" without what is the library's and the place.
std::string plain(std::string_view said) {
  for (const std::string_view end : {"] ", ": syntax error while parsing ", " - "}) {
    const std::size_t at = said.find(end);
    if (at != std::string_view::npos) said.remove_prefix(at + end.size());
  }
  return std::string(said);
}

// Makes the document of what the parser meets, and ends it at what the limits refuse. The library's
// own way, Json::parse with a callback, looks through an array once for every object in it: 200,000
// objects took it ten seconds.
class Builder : public nlohmann::json_sax<Json> {
 public:
  explicit Builder(JsonLimits limits) : limits_(limits) {}

  Json document;
  std::string refusal;          // of a limit
  std::string failure;          // the library's sentence
  std::size_t failed_byte = 0;  // where; 0: nowhere in the text

  bool null() override { return place(nullptr); }
  bool boolean(bool value) override { return place(value); }
  bool number_integer(number_integer_t value) override { return place(value); }
  bool number_unsigned(number_unsigned_t value) override { return place(value); }
  bool number_float(number_float_t value, const string_t&) override { return place(value); }
  bool string(string_t& value) override { return place(std::move(value)); }
  bool binary(binary_t&) override { return false; }  // no JSON has it
  bool start_object(std::size_t) override { return open(Json::object()); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    auto& members = open_.back()->get_ref<Json::object_t&>();
    const auto [member, is_new] = members.emplace(std::move(name), nullptr);
    if (!is_new && limits_.unique_keys) {
      refusal = "key " + quote(member->first) + " stands twice in one object";
    }
    member_ = &member->second;
    return refusal.empty();
  }

  bool parse_error(std::size_t byte, const std::string&,
                   const nlohmann::detail::exception& error) override {
    constexpr int kSyntax = 101;  // the only one with a place
    failed_byte = error.id == kSyntax ? byte : 0;
    failure = error.what();
    return false;
  }

 private:
  // An element of the innermost array, the member whose key was last, or the document. Nothing
  // moves an open value: only the innermost one grows, and a map's elements stay.
  template <class Value>
  Json& put(Value&& value) {
    if (open_.empty()) return document = std::forward<Value>(value);
    if (open_.back()->is_object()) return *member_ = std::forward<Value>(value);
    return open_.back()->get_ref<Json::array_t&>().emplace_back(std::forward<Value>(value));
  }
  template <class Value>
  bool place(Value&& value) {
    put(std::forward<Value>(value));
    return true;
  }
  // The parser keeps no stack of calls, but the destructor and copies of a deep value recurse.
  bool open(Json&& value) {
    if (open_.size() >= static_cast<std::size_t>(limits_.depth)) {
      refusal = "nested deeper than " + std::to_string(limits_.depth) + " levels";
      return false;
    }
    open_.push_back(&put(std::move(value)));
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  const JsonLimits limits_;
  std::vector<Json*> open_;  // from the document inwards
  Json* member_ = nullptr;
};

}  // namespace

Result<Json> parse_json(std::string_view text, const std::string& where, JsonLimits limits) {
  if (text.substr(0, 3) == "\xEF\xBB\xBF") text.remove_prefix(3);
  if (is_lfs_pointer(text)) return bad_input(where + ": " + kLfsPointerAdvice);
  Builder builder(limits);
  if (Json::sax_parse(text.begin(), text.end(), &builder)) return std::move(builder.document);
  if (!builder.refusal.empty()) return bad_input(where + ": " + builder.refusal);
  const std::string place =
      builder.failed_byte == 0 ? "" : " at " + place_of(text, builder.failed_byte);
  return bad_input(where + ": not valid JSON" + place + ": " + plain(builder.failure));
}

Result<Json> read_json(const std::string& path, std::uint64_t limit_bytes, JsonLimits limits) {
  RT_TRY(const std::string text, read_file(path, limit_bytes));
  return parse_json(text, path, limits);
}

}  // namespace rt
