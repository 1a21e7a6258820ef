// A file that a flag asked for (--logits, --svg, --trace), opened before the work begins.
#pragma once

#include <cstdio>
#include <memory>
#include <string>
#include <string_view>

#include "core/base/result.h"

namespace rt {

class OutputFile {
 public:
  // `flag` names it in errors. An empty path is a file that nobody wants: writing does nothing.
  static Result<OutputFile> open(const std::string& flag, const std::string& path);

  bool wanted() const { return file_ != nullptr; }
  Status write(std::string_view bytes);
  // Says what write() could not know yet (a full disk).
  Status close();

 private:
  struct Closer {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  Error failure() const;

  std::string name_;  // "--svg: plan.svg"
  std::unique_ptr<std::FILE, Closer> file_;
};

}  // namespace rt
