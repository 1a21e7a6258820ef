// The folder a model was downloaded to, and the one rule about its weights, their index and
// config.json: what is read lies in it. (Tokenizers and the config of a plan are text, opened by
// path.)
//
// An index names its shards, and a folder from a stranger may name anything: "../../.ssh/id", an
// absolute path, a symbolic or a hard link to either. So a name is plain (no '/'), is opened
// relative to the folder's descriptor without following links, and has one name only. The
// exception is Hugging Face's cache, where a snapshot's files are links into models--*/blobs: a
// link may lead anywhere inside that models--* folder. The check is made on the opened file, not
// on its path, so that nothing can be swapped in between.
#pragma once

#include <string>
#include <vector>

#include "core/base/result.h"
#include "core/memory/mapped_file.h"

namespace rt {

class ModelFolder {
 public:
  static Result<ModelFolder> open(const std::string& path);

  const std::string& path() const { return path_; }

  // Maps the file `name` of the folder.
  Result<MappedFile> map(const std::string& name) const;
  // True if the folder has an entry of that name, of whatever kind.
  bool has(const std::string& name) const;
  // The names of its entries, sorted; empty where the folder cannot be listed.
  std::vector<std::string> names() const;

 private:
  Result<OwnedFd> open_file(const std::string& name) const;
  Result<OwnedFd> open_link(const std::string& name) const;

  std::string path_;
  OwnedFd fd_;
};

}  // namespace rt
