// What is asked: text from -p, -f or stdin, or token ids.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/base/result.h"
#include "tools/runtime/loaded_model.h"
#include "tools/runtime/settings.h"

namespace rt {

// The text of -p, -f or (unless it is a terminal) stdin; a single newline at the end of a file is
// the file's, not the text's. None if nothing was given. An empty one is refused with `if_empty`,
// what the verb says of it: -p "" is taken.
Result<std::optional<std::string>> read_text(const Settings& settings, const std::string& if_empty);

// "1,2,3" or "[1, 2, 3]": refuses what is no id of a vocabulary of that size.
Result<std::vector<std::int32_t>> parse_ids(const std::string& text, const std::string& where,
                                            std::uint64_t vocabulary);

// Without the newline (or \r\n) at its end, if there is one.
void drop_newline(std::string& text);

// Everything of a stream, or of a file or a pipe (bash's <(command)), that has at most
// kPromptLimitBytes.
Result<std::string> read_stdin();
Result<std::string> read_input(const std::string& path);
inline constexpr std::uint64_t kPromptLimitBytes = 256ull << 20;

// The ids that a text stands for, BOS included where the tokenizer wants one.
Result<std::vector<std::int32_t>> encode_prompt(const LoadedModel& model, const std::string& text);

}  // namespace rt
