#include "core/base/json.h"

#include <algorithm>
#include <set>
#include <vector>

#include "core/base/file.h"
#include "core/base/lfs_pointer.h"
#include "core/base/text.h"

namespace rt {
namespace {

// One open object or array of the document being parsed.
struct Level {
  std::set<std::string> keys;
};

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

}  // namespace

Result<Json> parse_json(std::string_view text, const std::string& where, JsonLimits limits) {
  if (text.substr(0, 3) == "\xEF\xBB\xBF") text.remove_prefix(3);
  if (is_lfs_pointer(text)) return bad_input(where + ": " + kLfsPointerAdvice);
  std::vector<Level> open;
  std::string refusal;
  // nlohmann's parser keeps its own stack on the heap, but the destructor and copies of a deep
  // value recurse: a value deeper than the limit is discarded while it is parsed.
  const auto watch = [&](int depth, Json::parse_event_t event, Json& value) {
    using Event = Json::parse_event_t;
    if (event == Event::object_start || event == Event::array_start) {
      open.resize(static_cast<std::size_t>(depth) + 1);
      open.back().keys.clear();
      if (depth >= limits.depth && refusal.empty()) {
        refusal = "nested deeper than " + std::to_string(limits.depth) + " levels";
      }
    } else if (event == Event::key && limits.unique_keys && refusal.empty()) {
      const auto& key = value.get_ref<const std::string&>();
      if (!open[static_cast<std::size_t>(depth) - 1].keys.insert(key).second) {
        refusal = "key " + quote(key) + " stands twice in one object";
      }
    }
    return refusal.empty();
  };
  try {
    Json document = Json::parse(text.begin(), text.end(), watch);
    if (!refusal.empty()) return bad_input(where + ": " + refusal);
    return document;
  } catch (const Json::parse_error& failure) {
    if (!refusal.empty()) return bad_input(where + ": " + refusal);
    return bad_input(where + ": not valid JSON at " + place_of(text, failure.byte) + ": " +
                     plain(failure.what()));
  } catch (const Json::exception& failure) {
    return bad_input(where + ": not valid JSON: " + plain(failure.what()));
  }
}

Result<Json> read_json(const std::string& path, std::uint64_t limit_bytes, JsonLimits limits) {
  RT_TRY(const std::string text, read_file(path, limit_bytes));
  return parse_json(text, path, limits);
}

}  // namespace rt
