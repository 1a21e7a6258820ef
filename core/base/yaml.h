// YAML from files that nobody vouches for: graphs and configs. yaml-cpp only splits the text into
// events; the tree, the types and every check are ours, because yaml-cpp accepts duplicate keys,
// drops merge keys silently, reads NO as a bool and 010 as 8, and has no limits.
//
// Accepted: one document of block and flow mappings, sequences and scalars, in UTF-8 (a UTF-8 byte
// order mark at the start is skipped). Refused, each with file:line:column: a second document,
// duplicate keys, keys that are not scalars, anchors, aliases, merge keys, tags, tabs in
// indentation, other encodings, NUL and other control characters, and what passes the limits.
//
// A scalar has no type until somebody asks: as_int, as_real, as_bool and as_string are the only
// readings, and none of them depends on the locale.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/result.h"

namespace rt {

// Our largest graph is 7 KB. yaml-cpp takes 0.6 s per megabyte and 4 us per token (both measured on
// one shared core), so these bound a refusal to about a second.
struct YamlLimits {
  std::uint64_t bytes = 1u << 20;
  std::uint32_t depth = 64;  // a file that nests deeper describes nothing
  std::uint32_t nodes = 100'000;
};

// Where something stands in a file; line and column count from 1. Line 0: not in a file.
struct YamlPosition {
  std::shared_ptr<const std::string> file;
  std::uint32_t line = 0;
  std::uint32_t column = 0;

  std::string text() const;  // "graphs/phi3.yaml:12:5"
};

// "file:line:column: message".
Error bad_input_at(const YamlPosition& where, const std::string& message);

class YamlNode {
 public:
  enum class Kind : std::uint8_t { kNull, kScalar, kSequence, kMapping };
  struct Entry;  // of a mapping: key, its position, value

  Kind kind = Kind::kNull;
  bool quoted = false;  // a scalar in quotes or a block scalar: never a number or a bool
  YamlPosition where;
  std::string scalar;           // kScalar
  std::vector<YamlNode> items;  // kSequence
  std::vector<Entry> entries;   // kMapping, in the file's order

  bool is_null() const { return kind == Kind::kNull; }
  bool is_scalar() const { return kind == Kind::kScalar; }
  bool is_sequence() const { return kind == Kind::kSequence; }
  bool is_mapping() const { return kind == Kind::kMapping; }

  // The value under `key` of a mapping, or nullptr.
  const YamlNode* find(std::string_view key) const;

  // Typed readings. Numbers are plain decimal ("4096", "-1", "1e-5"): a quoted one, "010", "0x1F",
  // "1_000", ".inf" and what does not fit are errors that say so. Bools are true and false.
  Result<std::int64_t> as_int() const;
  Result<std::int64_t> as_int(std::int64_t minimum, std::int64_t maximum) const;
  Result<double> as_real() const;  // finite
  Result<bool> as_bool() const;
  Result<std::string> as_string() const;                // any scalar, as written
  Result<std::vector<std::string>> as_strings() const;  // one scalar, or a sequence of scalars

  // "expected a mapping, found the number-like scalar '3'" as an Error at this node.
  Error expected(const std::string& what) const;
};

struct YamlNode::Entry {
  std::string key;
  YamlPosition where;  // of the key
  YamlNode value;
};

// `where` names the file in errors.
Result<YamlNode> parse_yaml(std::string_view text, const std::string& where,
                            YamlLimits limits = {});
Result<YamlNode> read_yaml(const std::string& path, YamlLimits limits = {});

// Reads a mapping whose keys are all known: ask for each with find() or need(), then finish(),
// which refuses the first key that nobody asked for, with the nearest one that was.
//
//   RT_TRY(YamlMapping config, YamlMapping::of(node, "a config"));
//   RT_TRY(const YamlNode* device, config.need("device"));
//   const YamlNode* limit = config.find("memory_limit");
//   RT_RETURN_IF_ERROR(config.finish());
class YamlMapping {
 public:
  // `what` names the mapping in errors ("a node", "block 'layer'"). The node must outlive this.
  static Result<YamlMapping> of(const YamlNode& node, std::string what);

  const YamlNode* find(std::string_view key);  // nullptr if absent; null values count as absent
  Result<const YamlNode*> need(std::string_view key);
  Status finish() const;

 private:
  YamlMapping(const YamlNode& node, std::string what) : node_(&node), what_(std::move(what)) {}

  const YamlNode* node_;
  std::string what_;
  std::vector<std::string> asked_;
};

}  // namespace rt
