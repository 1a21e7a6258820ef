#include "core/memory/model_folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string_view>

#include "core/base/text.h"

namespace rt {
namespace {

// The path of what `fd` has open, links resolved.
Result<std::string> real_path(int fd) {
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  char path[PATH_MAX];
  const ssize_t size = ::readlink(link.c_str(), path, sizeof path);
  if (size <= 0) return environment("cannot read " + link + "; is /proc mounted?");
  return std::string(path, static_cast<std::size_t>(size));
}

// ".../models--org--name" of a folder in Hugging Face's cache, else the folder itself.
std::string_view containing_root(std::string_view folder) {
  constexpr std::string_view kPrefix = "/models--";
  const std::size_t at = folder.rfind(kPrefix);
  if (at == std::string_view::npos) return folder;
  return folder.substr(0, folder.find('/', at + 1));
}

bool lies_in(std::string_view path, std::string_view folder) {
  return path.size() > folder.size() + 1 && path.substr(0, folder.size()) == folder &&
         path[folder.size()] == '/';
}

}  // namespace

Result<ModelFolder> ModelFolder::open(const std::string& path) {
  ModelFolder folder;
  folder.path_ = path;
  while (folder.path_.size() > 1 && folder.path_.back() == '/') folder.path_.pop_back();
  folder.fd_ = OwnedFd(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (folder.fd_.get() >= 0) return folder;
  const int code = errno;
  if (code == ENOENT) {
    return bad_input(path + ": expected a model folder, found nothing of that name");
  }
  if (code == ENOTDIR) {
    return bad_input(path + ": expected a model folder, found a file; give the folder it is in");
  }
  return open_error(path, code);
}

Result<MappedFile> ModelFolder::map(const std::string& name) const {
  RT_TRY(OwnedFd fd, open_file(name));
  return MappedFile::map(std::move(fd), path_ + "/" + name);
}

bool ModelFolder::has(const std::string& name) const {
  struct stat status {};
  return ::fstatat(fd_.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0;
}

std::vector<std::string> ModelFolder::names() const {
  std::vector<std::string> names;
  OwnedFd fd(::openat(fd_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd.get() < 0) return names;
  DIR* listing = ::fdopendir(fd.get());
  if (listing == nullptr) return names;
  static_cast<void>(fd.release());  // closedir closes it
  while (const dirent* entry = ::readdir(listing)) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  ::closedir(listing);
  std::sort(names.begin(), names.end());
  return names;
}

Result<OwnedFd> ModelFolder::open_file(const std::string& name) const {
  const bool plain = !name.empty() && name != "." && name != ".." &&
                     name.find_first_of(std::string_view("/\0", 2)) == std::string::npos;
  if (!plain) {
    return bad_input(path_ + ": expected the plain name of a file in this folder, found " +
                     quote(name) + "; nothing outside a model's folder is read");
  }
  constexpr int kFlags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
  OwnedFd fd(::openat(fd_.get(), name.c_str(), kFlags | O_NOFOLLOW));
  if (fd.get() < 0 && errno == ELOOP) {
    RT_TRY(OwnedFd target, open_link(name));
    const std::string again = "/proc/self/fd/" + std::to_string(target.get());
    fd = OwnedFd(::open(again.c_str(), kFlags));
  }
  if (fd.get() < 0) return open_error(path_ + "/" + name, errno);
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return open_error(path_ + "/" + name, errno);
  if (S_ISREG(status.st_mode) && status.st_nlink > 1) {
    return bad_input(path_ + "/" + name + ": expected a file of one name, found one with " +
                     std::to_string(status.st_nlink) +
                     " hard links, which may be anybody's file; put a copy in its place (cp)");
  }
  return fd;
}

// Opens (O_PATH, so that a FIFO or device is not disturbed) what a symbolic link leads to, if it
// leads to a place inside the folder or its cache root.
Result<OwnedFd> ModelFolder::open_link(const std::string& name) const {
  const std::string path = path_ + "/" + name;
  OwnedFd target(::openat(fd_.get(), name.c_str(), O_PATH | O_CLOEXEC));
  if (target.get() < 0 && errno == ENOENT) {
    return bad_input(path + ": a symbolic link that leads nowhere; download the model again");
  }
  if (target.get() < 0) return open_error(path, errno);
  RT_TRY(const std::string real, real_path(target.get()));
  RT_TRY(const std::string folder, real_path(fd_.get()));
  if (!lies_in(real, containing_root(folder))) {
    return bad_input(path + ": a symbolic link that leads out of the model's folder, to " +
                     quote(real) + "; give the folder that holds the file itself");
  }
  return target;
}

}  // namespace rt
