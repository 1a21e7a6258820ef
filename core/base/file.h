// Reading a whole small file (config, graph, tokenizer) with every refusal typed; where a file is.
#pragma once

#include <cstdint>
#include <string>

#include "core/base/result.h"

namespace rt {

// The bytes of a regular file of at most `limit_bytes`. Opens with O_NONBLOCK and checks S_ISREG
// before reading, so that a FIFO, a device or a directory is refused at once instead of hanging.
Result<std::string> read_file(const std::string& path, std::uint64_t limit_bytes);

// "." for a path without a slash.
std::string directory_of(const std::string& path);

}  // namespace rt
