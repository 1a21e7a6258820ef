#include "tools/runtime/output.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "core/base/json.h"

namespace rt {
namespace {

bool gone = false;

}  // namespace

bool reader_gone() {
  return gone;
}

Status write_out(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(STDOUT_FILENO, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) gone = errno == EPIPE;
    if (written < 0) return environment(std::string("stdout: ") + std::strerror(errno));
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

Status write_json(const Json& json) {
  return write_out(json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
}

}  // namespace rt
