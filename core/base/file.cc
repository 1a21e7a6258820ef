#include "core/base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/base/bytes.h"
#include "core/base/owned_fd.h"

namespace rt {
namespace {

Error cannot_open(const std::string& path) {
  const int code = errno;
  const std::string message = path + ": cannot open: " + std::strerror(code);
  return code == ENOENT || code == ENOTDIR || code == ELOOP ? bad_input(message)
                                                            : environment(message);
}

}  // namespace

Result<std::string> read_file(const std::string& path, std::uint64_t limit_bytes) {
  const OwnedFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (file.get() < 0) return cannot_open(path);
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) return cannot_open(path);
  if (S_ISDIR(status.st_mode)) return bad_input(path + ": expected a file, found a directory");
  if (!S_ISREG(status.st_mode)) {
    return bad_input(path + ": expected a regular file, found a pipe, socket or device");
  }
  const auto size = static_cast<std::uint64_t>(status.st_size);
  if (size > limit_bytes) {
    return bad_input(path + ": expected at most " + format_bytes(limit_bytes) + ", found " +
                     format_bytes(size));
  }
  std::string text(size, '\0');
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t count = ::read(file.get(), text.data() + done, text.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return environment(path + ": cannot read: " + std::strerror(errno));
    if (count == 0) return environment(path + ": was cut short while it was read");
    done += static_cast<std::size_t>(count);
  }
  return text;
}

std::string directory_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace rt
