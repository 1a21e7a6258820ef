// The lines a user has sent, in $XDG_STATE_HOME/runtime/history (~/.local/state/runtime/history),
// one JSON string per line, so that a message of several lines stays one entry. A line that begins
// with a space is not stored. A history that cannot be read or written is no error.
#pragma once

#include <string>
#include <vector>

namespace rt {

class History {
 public:
  // keep_file false: this run's lines only.
  explicit History(bool keep_file);

  void add(const std::string& line);
  const std::vector<std::string>& lines() const { return lines_; }

 private:
  void read();

  std::string path_;  // "": none
  std::vector<std::string> lines_;
};

}  // namespace rt
