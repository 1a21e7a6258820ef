// Standard output, which carries answers and nothing else. A reader that went away, or a full disk,
// is an Error of the environment and never a signal.
#pragma once

#include <string_view>

#include "core/base/json_fwd.h"
#include "core/base/result.h"

namespace rt {

// Writes and flushes: an answer is seen as it comes.
Status write_out(std::string_view text);

// True once the reader of stdout has gone away (`runtime ... | head`): nothing to complain about.
bool reader_gone();

// One line of JSON; bytes that are not UTF-8 become U+FFFD.
Status write_json(const Json& json);

}  // namespace rt
