#include "tests/style/pages.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <set>

namespace rt::style {
namespace {

constexpr std::string_view kSeparators = " \t\"'`,;()[]|=:";

std::string folder_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash + 1);
}

// core/, plugins/, ...: a word that begins with one of them is meant to be there.
bool below_root_folder(std::string_view word) {
  for (const std::string_view folder : {"core/", "kernels/", "plugins/", "graphs/", "configs/",
                                        "tools/", "tests/", "docs/", ".ci/"}) {
    if (word.starts_with(folder)) return true;
  }
  return false;
}

bool has_ending(std::string_view word) {
  static const std::set<std::string_view> kEndings = {
      "h", "hpp", "c", "cc", "cu", "in", "cmake", "md", "yaml", "json", "py", "sh", "txt"};
  const std::size_t dot = word.rfind('.');
  return dot != std::string_view::npos && kEndings.contains(word.substr(dot + 1));
}

// A path that can be looked up: no pattern, no variable, not from the machine's root.
bool is_path(std::string_view word) {
  if (word.find('/') == std::string_view::npos || word.front() == '/' || word.front() == '~') {
    return false;
  }
  const auto plain = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
           std::string_view("_./-").find(c) != std::string_view::npos;
  };
  return std::all_of(word.begin(), word.end(), plain);
}

// "--top-k", and not "--" or "--gtest_filter".
bool is_flag(std::string_view word) {
  const auto plain = [](char c) {
    return std::islower(static_cast<unsigned char>(c)) != 0 ||
           std::isdigit(static_cast<unsigned char>(c)) != 0 || c == '-';
  };
  return word.size() > 3 && word.starts_with("--") && word[2] != '-' &&
         std::all_of(word.begin(), word.end(), plain);
}

// Other programs' flags are theirs.
bool is_other_program(std::string_view word) {
  const std::string_view name = word.substr(word.rfind('/') + 1);
  for (const std::string_view program : {"cmake", "ctest", "ninja", "git", "python3", "apt-get",
                                         "perf", "clang-format", "huggingface-cli", "hf"}) {
    if (name == program) return true;
  }
  return name.ends_with("_test") || name.ends_with(".py") || name == "bench_kernels";
}

class Reader {
 public:
  Reader(const SourceFile& page, const World& world) : page_(page), world_(world) {}

  Findings run() {
    const auto lines = lines_of(page_.text);
    name_fences(lines);
    bool fenced = false;
    for (line_ = 0; line_ < lines.size(); ++line_) {
      if (lines[line_].starts_with("```")) {
        fenced = !fenced;
      } else if (fenced) {
        check_code(lines[line_]);
      } else {
        check_prose(lines[line_]);
      }
    }
    return std::move(findings_);
  }

 private:
  // Files that the page itself holds: "```cpp clamp/clamp.cc".
  void name_fences(const std::vector<std::string_view>& lines) {
    for (const std::string_view line : lines) {
      if (!line.starts_with("```")) continue;
      const auto words = words_of(line);
      if (words.size() > 1) own_.insert(std::string(words[1]));
    }
  }

  void check_prose(std::string_view line) {
    for (std::size_t open = line.find('`'); open != std::string_view::npos;) {
      const std::size_t close = line.find('`', open + 1);
      if (close == std::string_view::npos) break;
      check_code(line.substr(open + 1, close - open - 1));
      open = line.find('`', close + 1);
    }
    for (std::size_t open = line.find("]("); open != std::string_view::npos;
         open = line.find("](", open + 1)) {
      const std::size_t close = line.find_first_of("#)", open);
      const std::string target(line.substr(open + 2, close - open - 2));
      if (!target.empty() && target.find("://") == std::string::npos && !exists(target)) {
        complain("the link's target " + target + " is not there");
      }
    }
  }

  // One line of code or one `span`: commands with | ; && between.
  void check_code(std::string_view code) {
    bool other = false;
    bool first = true;
    for (const std::string_view word : words_of(code)) {
      if (word == "&&" || word == "|" || word == ";" || word == "||") {
        first = true;
        other = false;
        continue;
      }
      if (first) other = is_other_program(word);
      first = false;
      for (std::string_view part : words_of(word, kSeparators)) check_word(part, other);
    }
  }

  void check_word(std::string_view word, bool other) {
    if (is_flag(word)) {
      const std::string flag(word);
      if (!other && !world_.has_flag(flag)) complain(flag + " is no flag of the command");
      return;
    }
    while (word.ends_with('.') || word.ends_with('/')) word.remove_suffix(1);
    if (word.empty() || !is_path(word)) return;
    if (!below_root_folder(word) && !has_ending(word)) return;
    if (word.starts_with("build/") || own_.contains(std::string(word))) return;
    if (!exists(std::string(word))) complain(std::string(word) + " is not there");
  }

  bool exists(const std::string& path) const {
    const auto beside = std::filesystem::path(folder_of(page_.path) + path).lexically_normal();
    return world_.exists(path) || world_.exists(beside.generic_string());
  }

  void complain(const std::string& what) { findings_.push_back(finding(page_, line_, what)); }

  const SourceFile& page_;
  const World& world_;
  std::set<std::string> own_;
  std::size_t line_ = 0;
  Findings findings_;
};

}  // namespace

Findings check_page(const SourceFile& page, const World& world) {
  return Reader(page, world).run();
}

}  // namespace rt::style
