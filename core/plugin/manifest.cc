#include "core/plugin/manifest.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <span>

#include "core/base/text.h"
#include "core/plugin/elf_section.h"
#include "core/sdk/plugin.h"

namespace rt {
namespace {

bool is_name_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
}

bool parse_number(std::string_view text, std::uint32_t* out) {
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), *out);
  return code == std::errc() && end == text.data() + text.size();
}

// "0.1"
bool parse_pair(std::string_view text, std::uint32_t* major, std::uint32_t* minor) {
  const std::size_t dot = text.find('.');
  return dot != std::string_view::npos && parse_number(text.substr(0, dot), major) &&
         parse_number(text.substr(dot + 1), minor);
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

std::vector<std::string_view> words(std::string_view text) {
  std::vector<std::string_view> out;
  while (!(text = trim(text)).empty()) {
    const std::size_t end = std::min(text.find(' '), text.size());
    out.push_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  return out;
}

std::string abi_text(std::uint32_t major, std::uint32_t minor) {
  return std::to_string(major) + "." + std::to_string(minor);
}

constexpr std::array kKeys = {"plugin", "version",        "abi",     "min_host", "schema",
                              "fusion", "implementation", "planner", "device"};
enum Key {
  kPlugin,
  kVersion,
  kAbi,
  kMinHost,
  kSchema,
  kFusion,
  kImplementation,
  kPlanner,
  kDevice
};

class Parser {
 public:
  Parser(std::string_view text, const std::string& file) : text_(text), file_(file) {}

  Result<Manifest> run() {
    RT_RETURN_IF_ERROR(check_bytes());
    RT_RETURN_IF_ERROR(check_major());
    RT_RETURN_IF_ERROR(
        each_line([&](std::string_view key, std::string_view value) { return take(key, value); }));
    RT_RETURN_IF_ERROR(check_whole());
    return std::move(manifest_);
  }

 private:
  Error at_line(const std::string& message) const {
    return bad_input(file_ + ": manifest line " + std::to_string(line_) + ": " + message);
  }
  Error whole(const std::string& message) const {
    return bad_input(file_ + ": manifest: " + message);
  }

  Status check_bytes();
  Status check_major();
  template <class Take>
  Status each_line(Take&& take);
  Status take(std::string_view key, std::string_view value);
  Status take_single(Key key, std::string_view value);
  Status take_implementation(std::string_view value);
  Status take_fusion(std::string_view value);
  Status check_whole() const;
  template <class T>
  Status append(std::vector<T>& list, T item, std::string_view value);

  std::string_view text_;
  const std::string& file_;
  std::size_t line_ = 0;
  std::array<bool, kKeys.size()> seen_{};
  std::uint32_t min_host_major_ = 0;
  Manifest manifest_;
};

Status Parser::check_bytes() {
  while (!text_.empty() && text_.back() == '\0') text_.remove_suffix(1);
  if (text_.find('\0') != std::string_view::npos) {
    return whole("expected one text, found two; RT_MANIFEST may stand once in a plugin");
  }
  for (const char c : text_) {
    if (c == '\n' || (c >= ' ' && c <= '~')) continue;
    return whole("expected printable ASCII, found byte " +
                 std::to_string(static_cast<unsigned char>(c)));
  }
  return {};
}

// take(key, value) on every line that is not blank; blanks around the value are dropped.
template <class Take>
Status Parser::each_line(Take&& take) {
  line_ = 0;
  for (std::string_view rest = text_; !rest.empty();) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    ++line_;
    if (trim(line).empty()) continue;
    const std::size_t colon = line.find(':');
    if (line.size() > kManifestLineLimitBytes || colon == std::string_view::npos) {
      return at_line("expected \"key: value\" of at most " +
                     std::to_string(kManifestLineLimitBytes) + " bytes, found " + quote(line));
    }
    RT_RETURN_IF_ERROR(take(line.substr(0, colon), trim(line.substr(colon + 1))));
  }
  return {};
}

// Another major may have another grammar, so its line is looked for before anything is judged.
Status Parser::check_major() {
  return each_line([&](std::string_view key, std::string_view value) -> Status {
    std::uint32_t major = 0;
    std::uint32_t minor = 0;
    if (key != "abi" || !parse_pair(value, &major, &minor) || major == RT_ABI_MAJOR) return {};
    return bad_input(file_ + ": built for plugin ABI " + abi_text(major, minor) +
                     ", this runtime has " + abi_text(RT_ABI_MAJOR, RT_ABI_MINOR) +
                     "; build it with this runtime's SDK");
  });
}

Status Parser::take(std::string_view key, std::string_view value) {
  const auto found = std::find(kKeys.begin(), kKeys.end(), key);
  if (found == kKeys.end()) {
    // A key that a later minor added: its plugin says through min_host whether it can do without.
    if (seen_[kAbi] && manifest_.abi_minor > RT_ABI_MINOR) return {};
    const std::vector<std::string> keys(kKeys.begin(), kKeys.end());
    return at_line("unknown key " + quote(key) + did_you_mean(key, keys));
  }
  const Key which = static_cast<Key>(found - kKeys.begin());
  if (which <= kMinHost) {
    if (seen_[which]) return at_line(std::string(key) + " was given before");
    seen_[which] = true;
    return take_single(which, value);
  }
  if (which == kImplementation) return take_implementation(value);
  if (which == kFusion) return take_fusion(value);
  if (which == kSchema) {
    OperatorId op;
    if (!parse_operator(value, &op)) {
      return at_line("expected operator@version (\"acme.norm@1\"), found " + quote(value));
    }
    return append(manifest_.schemas, op, value);
  }
  if (!is_name(value)) return at_line("expected a name of [a-z0-9_], found " + quote(value));
  return append(which == kPlanner ? manifest_.planners : manifest_.devices, std::string(value),
                value);
}

Status Parser::take_single(Key key, std::string_view value) {
  if (key == kPlugin) {
    if (!is_name(value)) return at_line("expected a name of [a-z0-9_], found " + quote(value));
    manifest_.plugin = value;
  } else if (key == kVersion) {
    if (!is_version(value)) return at_line("expected a version (\"1.3.0\"), found " + quote(value));
    manifest_.version = value;
  } else {
    std::uint32_t* major = key == kAbi ? &manifest_.abi_major : &min_host_major_;
    std::uint32_t* minor = key == kAbi ? &manifest_.abi_minor : &manifest_.min_host_minor;
    if (!parse_pair(value, major, minor)) {
      return at_line("expected major.minor (\"0.1\"), found " + quote(value));
    }
  }
  return {};
}

Status Parser::take_implementation(std::string_view value) {
  const auto word = words(value);
  ManifestImplementation item;
  if (word.size() != 4 || !parse_operator(word[0], &item.op) || !is_name(word[1]) ||
      !is_name(word[2]) || word[3].empty() || (word[3] != "-" && !is_isa_list(word[3]))) {
    return at_line(
        "expected \"operator@version device name isa\" (\"acme.norm@1 cpu avx2 avx2,fma\"; - for "
        "no isa), found " +
        quote(value));
  }
  item.device_kind = word[1];
  item.name = word[2];
  item.isa = word[3] == "-" ? std::string_view() : word[3];
  const auto same = [&](const ManifestImplementation& other) {
    return other.op == item.op && other.device_kind == item.device_kind && other.name == item.name;
  };
  if (std::any_of(manifest_.implementations.begin(), manifest_.implementations.end(), same)) {
    return at_line("implementation " + quote(value) + " was given before");
  }
  manifest_.implementations.push_back(std::move(item));
  return {};
}

Status Parser::take_fusion(std::string_view value) {
  const auto word = words(value);
  ManifestFusion item;
  bool fits = word.size() >= 2 && parse_operator(word[0], &item.op);
  for (std::size_t i = 1; fits && i < word.size(); ++i) {
    OperatorId part;
    fits = parse_operator(word[i], &part) &&
           std::find(item.parts.begin(), item.parts.end(), part) == item.parts.end();
    item.parts.push_back(std::move(part));
  }
  if (!fits) {
    return at_line(
        "expected a fused operator and the operators of its pattern, each once "
        "(\"acme.norm_add@1 rms_norm@1 add@1\"), found " +
        quote(value));
  }
  const auto same = [&](const ManifestFusion& other) { return other.op == item.op; };
  if (std::any_of(manifest_.fusions.begin(), manifest_.fusions.end(), same)) {
    return at_line("fusion " + quote(item.op.text()) + " was given before");
  }
  manifest_.fusions.push_back(std::move(item));
  return {};
}

template <class T>
Status Parser::append(std::vector<T>& list, T item, std::string_view value) {
  if (std::find(list.begin(), list.end(), item) != list.end()) {
    return at_line(quote(value) + " was given before");
  }
  list.push_back(std::move(item));
  return {};
}

Status Parser::check_whole() const {
  for (const Key key : {kPlugin, kVersion, kAbi, kMinHost}) {
    if (!seen_[key]) return whole(std::string("expected a line \"") + kKeys[key] + ": ...\"");
  }
  if (min_host_major_ != manifest_.abi_major || manifest_.min_host_minor > manifest_.abi_minor) {
    return whole("expected min_host to be of the abi's major and not above it, found abi " +
                 abi_text(manifest_.abi_major, manifest_.abi_minor) + ", min_host " +
                 abi_text(min_host_major_, manifest_.min_host_minor));
  }
  if (manifest_.min_host_minor > RT_ABI_MINOR) {
    return bad_input(file_ + ": needs a runtime with plugin ABI " +
                     abi_text(manifest_.abi_major, manifest_.min_host_minor) +
                     " or later, this one has " + abi_text(RT_ABI_MAJOR, RT_ABI_MINOR) +
                     "; update the runtime");
  }
  if (manifest_.schemas.empty() && manifest_.fusions.empty() && manifest_.implementations.empty() &&
      manifest_.planners.empty() && manifest_.devices.empty()) {
    return whole("expected a schema, fusion, implementation, planner or device, found none");
  }
  return {};
}

}  // namespace

bool is_name(std::string_view text) {
  return !text.empty() && text.size() <= kNameLimitBytes &&
         std::all_of(text.begin(), text.end(), is_name_character);
}

bool is_operator_name(std::string_view text) {
  const std::size_t dot = text.find('.');
  if (dot == std::string_view::npos) return is_name(text);
  return is_name(text.substr(0, dot)) && is_name(text.substr(dot + 1));
}

bool parse_operator(std::string_view text, OperatorId* out) {
  const std::size_t at = text.find('@');
  if (at == std::string_view::npos || !is_operator_name(text.substr(0, at))) return false;
  out->op = text.substr(0, at);
  return parse_number(text.substr(at + 1), &out->version) && out->version > 0;
}

bool is_isa_list(std::string_view text) {
  if (text.empty()) return true;
  if (text.size() > kManifestLineLimitBytes) return false;
  char before = ',';
  for (const char c : text) {
    if (c == ',' ? before == ',' : !(is_name_character(c) || c == '.')) return false;
    before = c;
  }
  return before != ',';
}

bool is_version(std::string_view text) {
  const auto fits = [](char c) {
    return is_name_character(c) || (c >= 'A' && c <= 'Z') || c == '.' || c == '+' || c == '-';
  };
  return !text.empty() && text.size() <= kNameLimitBytes &&
         std::all_of(text.begin(), text.end(), fits);
}

Result<Manifest> parse_manifest(std::string_view text, const std::string& file) {
  return Parser(text, file).run();
}

Result<Manifest> read_manifest(const std::string& path) {
  RT_TRY(const std::string text, read_elf_section(path, RT_MANIFEST_SECTION, kManifestLimitBytes));
  return parse_manifest(text, path);
}

}  // namespace rt
