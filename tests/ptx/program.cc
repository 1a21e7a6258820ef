#include "tests/ptx/program.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "tests/ptx/function_reader.h"

namespace ptx {
namespace {

bool is_name(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '$' || c == '%';
}

std::uint32_t bytes_of(std::string_view type) {
  const std::size_t digits = type.find_first_of("0123456789");
  const std::string_view bits = digits == std::string_view::npos ? "" : type.substr(digits);
  return bits == "8" ? 1 : bits == "16" ? 2 : bits == "32" ? 4 : bits == "64" ? 8 : 0;
}

// ".shared .align 16 .b8 name[32] = {...}", or any of .param, .global, .local; the value is left.
struct Variable {
  std::string name;
  std::uint32_t align = 1;
  std::uint64_t bytes = 0;
  std::string_view value;
};
Variable parse_variable(std::string_view text) {
  Variable variable;
  if (const std::size_t equals = text.find('='); equals != std::string_view::npos) {
    variable.value = trimmed(text.substr(equals + 1));
    text = trimmed(text.substr(0, equals));
  }
  std::uint64_t elements = 1;
  const std::size_t open = text.find('[');
  if (open != std::string_view::npos) {
    elements = std::strtoull(std::string(text.substr(open + 1)).c_str(), nullptr, 10);
    text = trimmed(text.substr(0, open));
  }
  std::size_t begin = 0;
  bool align = false;
  while (begin < text.size()) {
    const std::size_t end = std::min(text.find_first_of(" \t\n", begin), text.size());
    const std::string_view word = text.substr(begin, end - begin);
    begin = std::min(text.find_first_not_of(" \t\n", end), text.size());
    if (align) variable.align = static_cast<std::uint32_t>(std::stoul(std::string(word)));
    const bool was_align = std::exchange(align, word == ".align");
    if (word.starts_with('.') && bytes_of(word) != 0) {
      variable.bytes = bytes_of(word);
      variable.align = std::max(variable.align, bytes_of(word));
    } else if (!word.starts_with('.') && !was_align) {
      variable.name = word;
    }
  }
  variable.bytes *= elements;
  return variable;
}

std::vector<unsigned char> bytes_of_value(const Variable& variable) {
  std::vector<unsigned char> bytes(variable.bytes);
  if (variable.value.size() < 2) return bytes;
  const auto parts = split_operands(variable.value.substr(1, variable.value.size() - 2));
  if (parts.size() > bytes.size()) die("a table that is not of bytes: " + variable.name);
  for (std::size_t i = 0; i < parts.size(); ++i) {
    bytes[i] = static_cast<unsigned char>(std::stoul(std::string(parts[i])));
  }
  return bytes;
}

// The same length and lines, with blanks in place of comments.
std::string without_comments(std::string text) {
  for (std::size_t i = 0; i + 1 < text.size(); ++i) {
    if (text[i] != '/' || text[i + 1] != '/') continue;
    for (; i < text.size() && text[i] != '\n'; ++i) text[i] = ' ';
  }
  return text;
}

bool names(std::string_view text, std::string_view name) {
  for (std::size_t at = text.find(name); at != std::string_view::npos;
       at = text.find(name, at + 1)) {
    const std::size_t end = at + name.size();
    if (end == text.size() || (!is_name(text[end]) && !is_name(text[at - 1]))) return true;
  }
  return false;
}

// Where the bracket that opens at `open` closes.
std::size_t closing(std::string_view text, std::size_t open) {
  int depth = 0;
  for (std::size_t i = open; i < text.size(); ++i) {
    depth += text[i] == '{' ? 1 : text[i] == '}' ? -1 : 0;
    if (depth == 0) return i;
  }
  die("a body that does not end");
}

std::uint32_t up(std::uint64_t value, std::uint64_t multiple) {
  return static_cast<std::uint32_t>((value + multiple - 1) / multiple * multiple);
}

void read_parameters(Function& function, std::string_view text, Symbols& symbols) {
  std::uint32_t next = 0;
  for (const std::string_view part : split_operands(text)) {
    const Variable variable = parse_variable(part);
    next = up(next, variable.align);
    symbols[variable.name] = {Space::kParam, next};
    function.parameter_offsets.push_back(next);
    function.parameter_bytes.push_back(static_cast<std::uint32_t>(variable.bytes));
    next += static_cast<std::uint32_t>(variable.bytes);
  }
}

void place_shared(Function& function, const Variable& variable, Symbols& symbols) {
  function.shared_bytes = up(function.shared_bytes, variable.align);
  symbols[variable.name] = {Space::kShared, function.shared_bytes};
  function.shared_bytes += static_cast<std::uint32_t>(variable.bytes);
}

// Calls f(statement, where it begins) for what stands between semicolons, labels and the braces of
// scopes. Braces inside a statement are of vectors.
template <class F>
void for_each_statement(std::string_view body, F f) {
  std::size_t begin = 0;
  int depth = 0;
  for (std::size_t i = 0; i < body.size(); ++i) {
    const char c = body[i];
    const std::string_view so_far = trimmed(body.substr(begin, i - begin));
    if (c == '{' || c == '}') {
      if (so_far.empty()) {
        begin = i + 1;
      } else {
        depth += c == '{' ? 1 : -1;
      }
    } else if (c == ':' && depth == 0 && !so_far.empty() &&
               std::all_of(so_far.begin(), so_far.end(), is_name)) {
      f(body.substr(begin, i + 1 - begin), begin);
      begin = i + 1;
    } else if (c == ';' && depth == 0) {
      f(body.substr(begin, i - begin), begin);
      begin = i + 1;
    }
  }
}

}  // namespace

Module::Module(std::string text) : text_(without_comments(std::move(text))) {
  constexpr std::string_view kEntry = ".entry";
  for (std::size_t at = text_.find(kEntry); at != std::string::npos;
       at = text_.find(kEntry, at + 1)) {
    const std::size_t name = text_.find_first_not_of(" \t", at + kEntry.size());
    std::size_t end = name;
    while (is_name(text_[end])) ++end;
    entries_[text_.substr(name, end - name)] = end;
  }
}

std::string_view Module::line(std::uint32_t number) const {
  std::size_t begin = 0;
  for (std::uint32_t i = 1; i < number; ++i) begin = text_.find('\n', begin) + 1;
  return trimmed(std::string_view(text_).substr(begin, text_.find('\n', begin) - begin));
}

const Function* Module::entry(const std::string& name) {
  if (const auto read = read_.find(name); read != read_.end()) return read->second.get();
  const auto entry = entries_.find(name);
  if (entry == entries_.end()) return nullptr;
  auto function = std::make_unique<Function>();
  function->name = name;
  read(*function, entry->second);
  return (read_[name] = std::move(function)).get();
}

// What is declared outside functions and named in `body`.
void Module::find_variables(Function& function, std::string_view body, Symbols& symbols) {
  for (const std::string_view kind : {"\n.shared ", "\n.global ", "\n.extern .shared "}) {
    for (std::size_t at = text_.find(kind); at != std::string::npos;
         at = text_.find(kind, at + 1)) {
      const std::string_view text = std::string_view(text_).substr(at, text_.find(';', at) - at);
      const Variable variable = parse_variable(trimmed(text));
      const bool inside = text.data() >= body.data() && text.data() < body.data() + body.size();
      if (inside || !names(body, variable.name)) continue;
      if (kind == "\n.shared ") place_shared(function, variable, symbols);
      if (kind == "\n.extern .shared ") symbols[variable.name] = {Space::kShared, ~0u};
      if (kind != "\n.global ") continue;
      auto& bytes = globals_[variable.name];
      if (bytes.empty()) bytes = bytes_of_value(variable);
      symbols[variable.name] = {Space::kGlobal, reinterpret_cast<std::uint64_t>(bytes.data())};
    }
  }
}

void Module::read(Function& function, std::size_t behind_name) {
  const std::size_t parameters = text_.find('(', behind_name);
  const std::size_t directives = text_.find(')', parameters);
  const std::size_t open = text_.find('{', directives);
  if (open == std::string::npos) die("an entry without a body: " + function.name);
  const std::string_view all = text_;
  const std::string_view body = all.substr(open + 1, closing(all, open) - open - 1);
  Symbols symbols;
  read_parameters(function, all.substr(parameters + 1, directives - parameters - 1), symbols);
  if (const std::size_t at = all.find(".maxntid", directives); at < open) {
    function.most_threads =
        static_cast<std::uint32_t>(std::strtoul(text_.c_str() + at + 8, nullptr, 10));
  }
  find_variables(function, body, symbols);
  for_each_statement(body, [&](std::string_view text, std::size_t) {
    text = trimmed(text);
    if (text.starts_with(".shared")) place_shared(function, parse_variable(text), symbols);
  });
  // What the launch gives comes behind what is the kernel's own.
  function.shared_bytes = up(function.shared_bytes, 16);
  for (auto& [name, symbol] : symbols) {
    if (symbol.space == Space::kShared && symbol.address == ~0u)
      symbol.address = function.shared_bytes;
  }
  auto line = static_cast<std::uint32_t>(1 + std::count(all.begin(), all.begin() + open, '\n'));
  std::size_t counted = 0;
  FunctionReader reader(function, std::move(symbols));
  for_each_statement(body, [&](std::string_view text, std::size_t begin) {
    const std::size_t blanks = text.find_first_not_of(" \t\n\r");
    begin += blanks == std::string_view::npos ? 0 : blanks;
    line +=
        static_cast<std::uint32_t>(std::count(body.begin() + counted, body.begin() + begin, '\n'));
    counted = begin;
    text = trimmed(text);
    if (text.starts_with(".reg")) {
      reader.declare_registers(text);
    } else if (text.starts_with(".local")) {
      reader.declare_local(text);
    } else if (text.ends_with(':')) {
      reader.label(text.substr(0, text.size() - 1));
    } else if (!text.empty() && !text.starts_with('.')) {
      reader.instruction(text, line);
    }
  });
  reader.finish();
}

}  // namespace ptx
