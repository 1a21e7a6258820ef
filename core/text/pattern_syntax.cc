#include "core/text/pattern_syntax.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "core/base/text.h"

namespace rt {
namespace {

// Unicode White_Space. PCRE2's \s also holds U+180E (Mongolian vowel separator).
constexpr const char* kSpace =
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}"
    "\\x{205f}\\x{3000}";
// Alphabetic (circled letters are), marks, decimal digits, connectors. PCRE2's \w has no marks.
#define RT_WORD                                                                          \
  "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}\\x{1f150}-" \
  "\\x{1f169}\\x{1f170}-\\x{1f189}"
// Outside of a class Oniguruma counts the superscripts and fractions of Latin-1 among them.
constexpr const char* kWordInClass = RT_WORD;
constexpr const char* kWord = RT_WORD "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}";
#undef RT_WORD
constexpr const char* kHexDigit = "0-9a-fA-F";

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// Whether PCRE2 knows a script of this name. Before 10.40 it knows no "sc:", and by a script's bare
// name means the script alone.
bool is_script(const std::string& name) {
  const std::string probe = "\\p{sc:" + name + "}";
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(probe.data()), probe.size(),
                                   PCRE2_UTF, &error, &offset, nullptr);
  pcre2_code_free(code);
  return code != nullptr;
}

class Spelling {
 public:
  explicit Spelling(std::string_view expression) : rest_(expression) {}

  Result<std::string> take() {
    while (!rest_.empty()) {
      const bool escape = rest_.size() > 1 && rest_[0] == '\\';
      RT_RETURN_IF_ERROR(escape ? take_escape() : in_class_ ? take_member() : take_outside());
    }
    return std::move(out_);
  }

 private:
  void copy(std::size_t bytes) {
    out_ += rest_.substr(0, bytes);
    rest_.remove_prefix(bytes);
  }
  void put_set(const char* members, bool complement) {
    out_ += in_class_ ? members : std::string(complement ? "[^" : "[") + members + "]";
    rest_.remove_prefix(2);
  }
  void put_boundary(bool is_boundary) {
    const std::string word = std::string("[") + kWord + "]";
    const std::string before = "(?<=" + word + ")", no_before = "(?<!" + word + ")";
    const std::string after = "(?=" + word + ")", no_after = "(?!" + word + ")";
    out_ += is_boundary ? "(?:" + before + no_after + "|" + no_before + after + ")"
                        : "(?:" + before + after + "|" + no_before + no_after + ")";
    rest_.remove_prefix(2);
  }

  Status take_escape() {
    const char c = rest_[1];
    switch (c) {
      case 's':
        put_set(kSpace, false);
        return {};
      case 'w':
        put_set(in_class_ ? kWordInClass : kWord, false);
        return {};
      case 'h':
        put_set(kHexDigit, false);
        return {};
      case 'v':
        put_set("\\x{b}", false);
        return {};
      case 'S':
        if (in_class_) {  // PCRE2's, and what that lacks
          put_set("\\S\\x{180e}", false);
        } else {
          put_set(kSpace, true);
        }
        return {};
      case 'W':
      case 'H':
        if (in_class_) return bad_input(std::string("\\") + c + " inside a character class");
        put_set(c == 'W' ? kWord : kHexDigit, true);
        return {};
      case 'b':
      case 'B':
        if (in_class_) break;  // a backspace
        put_boundary(c == 'b');
        return {};
      case 'V':
      case 'Q':
      case 'E':
        return bad_input(std::string("\\") + c);
      case 'p':
      case 'P':
        take_property();
        return {};
      default:
        break;
    }
    // \x{20}: no interval.
    const bool braced = rest_.size() > 2 && rest_[2] == '{' &&
                        std::string_view("xoNgku").find(c) != std::string_view::npos;
    const std::size_t end = braced ? rest_.find('}') : std::string_view::npos;
    copy(end == std::string_view::npos ? 2 : end + 1);
    return {};
  }

  // \p{Name}, \p{^Name}, \P{Name}
  void take_property() {
    const std::size_t end = rest_.find('}');
    if (rest_.size() < 3 || rest_[2] != '{' || end == std::string_view::npos) return copy(2);
    std::string name(rest_.substr(3, end - 3));
    bool complement = rest_[1] == 'P';
    if (name.starts_with('^')) {
      complement = !complement;
      name.erase(0, 1);
    }
    if (name.size() <= 2 || !is_script(name)) return copy(end + 1);  // a category, as L or Lu
    out_ += (complement ? "\\P{sc:" : "\\p{sc:") + name + "}";
    rest_.remove_prefix(end + 1);
  }

  Status take_member() {
    if (rest_[0] == '[' || rest_.starts_with("&&")) {
      return bad_input("a character class inside a character class");
    }
    if (rest_[0] == ']') in_class_ = false;
    copy(1);
    return {};
  }

  Status take_outside() {
    if (rest_[0] == '{') return take_interval();
    if (rest_.starts_with("(?")) RT_RETURN_IF_ERROR(check_flags());
    if (rest_[0] == '[') {
      in_class_ = true;
      copy(rest_.starts_with("[^") ? 2 : 1);
      if (!rest_.empty() && rest_[0] == ']') copy(1);  // a member, where it comes first
      return {};
    }
    copy(1);
    return {};
  }

  // (?flags: and (?flags). Ruby's m is the s of others, which it does not have.
  Status check_flags() const {
    std::size_t end = 2;
    while (end < rest_.size() && std::string_view("imsxadu-").find(rest_[end]) != rest_.npos) ++end;
    if (end == 2 || end == rest_.size() || (rest_[end] != ':' && rest_[end] != ')')) return {};
    const std::string_view flags = rest_.substr(2, end - 2);
    if (flags.find_first_not_of("i-") == flags.npos) return {};
    return bad_input("the flags " + quote(flags));
  }

  // {n}, {n,}, {n,m}, {,m}; any other brace is text.
  Status take_interval() {
    std::size_t end = 1;
    while (end < rest_.size() && is_digit(rest_[end])) ++end;
    const bool from = end > 1;
    const bool comma = end < rest_.size() && rest_[end] == ',';
    std::size_t last = comma ? end + 1 : end;
    while (last < rest_.size() && is_digit(rest_[last])) ++last;
    const bool to = comma && last > end + 1;
    if (last >= rest_.size() || rest_[last] != '}' || (!from && !to)) {
      copy(1);
      return {};
    }
    const char next = last + 1 < rest_.size() ? rest_[last + 1] : '\0';
    if (next == '+' || (next == '?' && !comma)) {
      return bad_input(std::string("an interval followed by ") + next);
    }
    if (!from) {
      out_ += "{0";
      rest_.remove_prefix(1);
      last -= 1;
    }
    copy(last + 1);
    return {};
  }

  std::string_view rest_;
  std::string out_;
  bool in_class_ = false;
};

}  // namespace

Result<std::string> pcre2_spelling(std::string_view expression) {
  return Spelling(expression).take();
}

}  // namespace rt
