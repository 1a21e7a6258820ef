#include "tools/runtime/output_file.h"

#include <cerrno>
#include <cstring>

namespace rt {

Result<OutputFile> OutputFile::open(const std::string& flag, const std::string& path) {
  OutputFile out;
  if (path.empty()) return out;
  out.name_ = flag + ": " + path;
  if (path == "-") {
    return bad_input(out.name_ + ": expected a file, stdout has the answer (./- is a file)");
  }
  out.file_.reset(std::fopen(path.c_str(), "wb"));
  if (!out.file_) return out.failure();
  return out;
}

Error OutputFile::failure() const {
  return environment(name_ + ": " + std::strerror(errno));
}

Status OutputFile::write(std::string_view bytes) {
  if (!file_ || std::fwrite(bytes.data(), 1, bytes.size(), file_.get()) == bytes.size()) return {};
  return failure();
}

Status OutputFile::close() {
  if (!file_ || std::fclose(file_.release()) == 0) return {};
  return failure();
}

}  // namespace rt
