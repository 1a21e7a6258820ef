#include "core/memory/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "core/base/bytes.h"

namespace rt {
namespace {

FileStamp identity_of(const struct stat& status) {
  return {static_cast<std::uint64_t>(status.st_dev), static_cast<std::uint64_t>(status.st_ino),
          static_cast<std::uint64_t>(status.st_size), status.st_mtim.tv_sec,
          status.st_mtim.tv_nsec};
}

}  // namespace

Error open_error(const std::string& path, int code) {
  const std::string start = path + ": cannot open: ";
  switch (code) {
    case ENOENT:
      return bad_input(start + "no such file");
    case ENOTDIR:
      return bad_input(start + "a part of its path is not a folder");
    case ELOOP:
      return bad_input(start + "its symbolic links lead in a circle");
    case ENAMETOOLONG:
      return bad_input(start + "its name is too long");
    case ENXIO:
      return bad_input(path + ": expected a regular file, found a socket or a device");
    case EACCES:
    case EPERM:
      return environment(start + "permission denied; the user who runs this must be able to read " +
                         "it (chmod +r, and +x on its folders)");
    case EMFILE:
    case ENFILE:
      return environment(start + "too many open files; raise the limit (ulimit -n)");
    default:
      return environment(start + std::strerror(code));
  }
}

Result<MappedFile> MappedFile::open(const std::string& path) {
  OwnedFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (fd.get() < 0) return open_error(path, errno);
  return map(std::move(fd), path);
}

Result<MappedFile> MappedFile::map(OwnedFd fd, const std::string& path) {
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return open_error(path, errno);
  if (S_ISDIR(status.st_mode)) return bad_input(path + ": expected a file, found a folder");
  if (!S_ISREG(status.st_mode)) {
    return bad_input(path + ": expected a regular file, found a pipe, socket or device");
  }
  MappedFile file;
  file.path_ = path;
  file.identity_ = identity_of(status);
  if (file.size() == 0) return file;
  void* address = ::mmap(nullptr, file.size(), PROT_READ, MAP_PRIVATE, fd.get(), 0);
  if (address == MAP_FAILED) {
    return environment(path + ": cannot map " + format_bytes(file.size()) + ": " +
                       std::strerror(errno) +
                       (errno == ENOMEM ? "; check ulimit -v and vm.max_map_count" : ""));
  }
  file.data_ = static_cast<const std::byte*>(address);
  file.guard_ = FaultGuard(address, file.size(), path);
  return file;
}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  MappedFile taken(std::move(other));
  swap(taken);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size());
}

void MappedFile::swap(MappedFile& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(identity_, other.identity_);
  std::swap(guard_, other.guard_);
}

Status MappedFile::check_unchanged() const {
  struct stat status {};
  if (::stat(path_.c_str(), &status) != 0) {
    if (errno == ENOENT || errno == ENOTDIR) return {};
    return environment(path_ + ": cannot look at the file any more: " + std::strerror(errno));
  }
  const FileStamp now = identity_of(status);
  const std::string advice = "; load the model again";
  if (now.device != identity_.device || now.inode != identity_.inode) {
    return environment(path_ + ": was replaced by another file while it was in use (inode " +
                       std::to_string(identity_.inode) + ", now " + std::to_string(now.inode) +
                       ")" + advice);
  }
  if (now.size != identity_.size) {
    return environment(path_ + ": changed its size while it was in use (expected " +
                       std::to_string(identity_.size) + " bytes, found " +
                       std::to_string(now.size) + ")" + advice);
  }
  if (now.modified_s != identity_.modified_s || now.modified_ns != identity_.modified_ns) {
    return environment(path_ + ": was written to while it was in use (its modification time " +
                       "changed)" + advice);
  }
  return {};
}

}  // namespace rt
