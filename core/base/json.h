// JSON from files that nobody vouches for. nlohmann-json parses; this bounds depth (100) so that a
// nesting bomb is an error instead of a stack overflow, rejects duplicate keys if asked, and turns
// every failure into an Error with line and column.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "core/base/json_fwd.h"
#include "core/base/result.h"

namespace rt {

struct JsonLimits {
  int depth = 100;
  bool unique_keys = true;
};

// `where` names the file in errors. A UTF-8 BOM at the start is accepted.
Result<Json> parse_json(std::string_view text, const std::string& where, JsonLimits limits = {});

// Reads and parses a file of at most `limit_bytes`.
Result<Json> read_json(const std::string& path, std::uint64_t limit_bytes, JsonLimits limits = {});

}  // namespace rt
