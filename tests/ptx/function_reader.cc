#include "tests/ptx/function_reader.h"

#include <charconv>
#include <cstdlib>

#include "tests/ptx/lanes.h"

namespace ptx {
namespace {

void unknown(Warp& warp, const Instruction&) {
  warp.die("an instruction that is not emulated");
}

std::uint32_t stride_of(std::string_view type) {
  return type.ends_with("64") ? 8 : 4;
}

Name parts_of(std::string_view name) {
  Name parts;
  std::size_t begin = 0;
  while (begin <= name.size()) {
    const std::size_t end = std::min(name.find('.', begin), name.size());
    parts.push_back(name.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

std::optional<std::uint64_t> parse_number(std::string_view text) {
  const bool negative = text.starts_with('-');
  if (negative) text.remove_prefix(1);
  if (text.ends_with('U')) text.remove_suffix(1);
  int base = 10;
  if (text.starts_with("0x") || text.starts_with("0f") || text.starts_with("0d") ||
      text.starts_with("0F") || text.starts_with("0D")) {
    text.remove_prefix(2);
    base = 16;
  }
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return negative ? 0 - value : value;
}

std::optional<Special> special_of(std::string_view name) {
  static const std::map<std::string_view, Special> kAllOfThem = {
      {"%tid.x", Special::kTidX},       {"%tid.y", Special::kTidY},
      {"%tid.z", Special::kTidZ},       {"%ctaid.x", Special::kCtaidX},
      {"%ctaid.y", Special::kCtaidY},   {"%ctaid.z", Special::kCtaidZ},
      {"%nctaid.x", Special::kNctaidX}, {"%nctaid.y", Special::kNctaidY},
      {"%nctaid.z", Special::kNctaidZ}, {"%ntid.x", Special::kNtidX},
      {"%ntid.y", Special::kNtidY},     {"%ntid.z", Special::kNtidZ},
      {"%laneid", Special::kLaneid}};
  const auto found = kAllOfThem.find(name);
  return found == kAllOfThem.end() ? std::nullopt : std::optional(found->second);
}

}  // namespace

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\n\r";
  const std::size_t begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

std::vector<std::string_view> split_operands(std::string_view text) {
  std::vector<std::string_view> parts;
  int depth = 0;
  std::size_t begin = 0;
  for (std::size_t i = 0; i <= text.size(); ++i) {
    const char c = i < text.size() ? text[i] : ',';
    depth += c == '{' || c == '[' || c == '(' ? 1 : c == '}' || c == ']' || c == ')' ? -1 : 0;
    if (c != ',' || depth > 0) continue;
    const std::string_view part = trimmed(text.substr(begin, i - begin));
    if (!part.empty()) parts.push_back(part);
    begin = i + 1;
  }
  return parts;
}

// ".reg .b32 %r<10>" or ".reg .u32 %a, %b"
void FunctionReader::declare_registers(std::string_view statement) {
  statement = trimmed(statement.substr(4));
  const std::size_t blank = statement.find_first_of(" \t");
  const std::string_view type = statement.substr(1, blank - 1);
  const bool predicate = type == "pred";
  for (std::string_view name : split_operands(statement.substr(blank))) {
    std::uint32_t count = 1;
    if (const std::size_t open = name.find('<'); open != std::string_view::npos) {
      count = static_cast<std::uint32_t>(
          parse_number(name.substr(open + 1, name.size() - open - 2)).value_or(0));
      name = name.substr(0, open + 1);
    }
    const std::uint32_t stride = stride_of(type);
    std::uint32_t& next = predicate ? function_.predicates : function_.register_bytes;
    registers_[std::string(name)] = {predicate, stride, next, count};
    next += predicate ? count : count * stride * kLanes;
  }
}

// ".local .align 16 .b8 name[24]"
void FunctionReader::declare_local(std::string_view statement) {
  const std::size_t open = statement.find('[');
  const std::size_t name = statement.find_last_of(" \t", open) + 1;
  const std::size_t close = statement.find(']', open);
  const auto bytes = parse_number(statement.substr(open + 1, close - open - 1));
  const std::uint32_t at = (function_.local_bytes + 15) / 16 * 16;
  symbols_[std::string(statement.substr(name, open - name))] = {Space::kLocal, at};
  function_.local_bytes = at + static_cast<std::uint32_t>(bytes.value_or(0));
}

void FunctionReader::label(std::string_view name) {
  labels_[std::string(name)] = static_cast<std::uint32_t>(function_.code.size());
}

const FunctionReader::Register* FunctionReader::find(std::string_view name,
                                                     std::uint32_t* index) const {
  *index = 0;
  if (const auto exact = registers_.find(name); exact != registers_.end()) return &exact->second;
  const std::size_t digits = name.find_last_not_of("0123456789") + 1;
  const auto range = registers_.find(std::string(name.substr(0, digits)) + "<");
  const auto number = parse_number(name.substr(digits));
  if (range == registers_.end() || !number || *number >= range->second.count) return nullptr;
  *index = static_cast<std::uint32_t>(*number);
  return &range->second;
}

Operand FunctionReader::constant(std::uint64_t value, std::uint32_t stride) {
  if (stride == 4) value &= 0xffffffffu;
  const auto [found, fresh] = constants_.try_emplace({value, stride});
  if (fresh) {
    found->second = {function_.register_bytes, stride};
    function_.register_bytes += stride * kLanes;
    function_.constants.push_back({found->second, value});
  }
  return found->second;
}

std::optional<Operand> FunctionReader::number(std::string_view text, std::string_view type) {
  const auto bits = parse_number(text);
  if (!bits) return std::nullopt;
  return constant(*bits, stride_of(type));
}

std::optional<Operand> FunctionReader::value(std::string_view text, std::string_view type) {
  if (const auto special = special_of(text)) {
    for (const auto& [known, which] : function_.specials) {
      if (which == *special) return known;
    }
    const Operand operand = {function_.register_bytes, 4};
    function_.register_bytes += 4 * kLanes;
    function_.specials.push_back({operand, *special});
    return operand;
  }
  if (text.starts_with('%')) {
    std::uint32_t index = 0;
    const Register* found = find(text, &index);
    if (found == nullptr || found->predicate) return std::nullopt;
    return Operand{found->first + index * found->stride * kLanes, found->stride};
  }
  if (const auto symbol = symbols_.find(text); symbol != symbols_.end()) {
    return constant(symbol->second.address, stride_of(type));
  }
  return number(text, type);
}

std::optional<std::uint32_t> FunctionReader::predicate(std::string_view text) {
  if (text == "_") {  // what nobody reads
    return function_.predicates++;
  }
  if (!text.starts_with('%')) {
    const auto bits = parse_number(text);
    if (!bits) return std::nullopt;
    function_.constant_predicates.push_back({function_.predicates, *bits != 0 ? kAll : 0});
    return function_.predicates++;
  }
  std::uint32_t index = 0;
  const Register* found = find(text, &index);
  if (found == nullptr || !found->predicate) return std::nullopt;
  return found->first + index;
}

bool FunctionReader::values(const Operands& texts, std::string_view type, Operand* to) {
  for (const std::string_view text : texts) {
    const auto operand = value(text, type);
    if (!operand) return false;
    *to++ = *operand;
  }
  return true;
}

namespace {

// "{a, b}": a and b; anything else: itself.
std::vector<std::string_view> elements(std::string_view text) {
  if (!text.starts_with('{')) return {text};
  return split_operands(text.substr(1, text.size() - 2));
}

Space space_of(const Name& name) {
  if (has(name, "global")) return Space::kGlobal;
  if (has(name, "shared")) return Space::kShared;
  if (has(name, "local")) return Space::kLocal;
  if (has(name, "param")) return Space::kParam;
  return Space::kGeneric;
}

}  // namespace

// "[base]", "[base+4]", "[base+-4]"
bool FunctionReader::address(std::string_view text, Instruction& i, unsigned index) {
  if (!text.starts_with('[') || !text.ends_with(']')) return false;
  text = trimmed(text.substr(1, text.size() - 2));
  const std::size_t plus = text.find('+');
  if (plus != std::string_view::npos) {
    const auto displacement = parse_number(trimmed(text.substr(plus + 1)));
    if (!displacement || index > 0) return false;
    i.displacement = static_cast<std::int32_t>(*displacement);
    text = trimmed(text.substr(0, plus));
  }
  const auto base = value(text, "u64");
  if (!base) return false;
  i.from[index] = *base;
  return true;
}

bool FunctionReader::decode_memory(const Name& name, const Operands& operands, Instruction& i) {
  i.run = find_memory(name);
  i.space = space_of(name);
  if (i.run == nullptr) return false;
  if (operands.size() < 2) return name[0] != "ld" && name[0] != "st" && name[0] != "atom";
  const bool stores = name[0] == "st";
  if (i.space == Space::kParam) i.run = find_access(name, !operands[1].starts_with("[%"));
  const Operands vector = elements(operands[stores ? 1 : 0]);
  if (vector.size() > 4) return false;
  i.count = static_cast<std::uint8_t>(vector.size());
  return address(operands[stores ? 0 : 1], i, 0) &&
         values(vector, name.back(), stores ? i.from + 1 : i.to) &&
         (name[0] != "atom" ||
          (operands.size() == 3 && values({operands[2]}, name.back(), i.from + 1)));
}

bool FunctionReader::decode_copy(const Name& name, const Operands& operands, Instruction& i) {
  i.run = find_memory(name);
  if (i.run == nullptr) return false;
  if (operands.size() == 1) {
    const auto count = parse_number(operands[0]);
    i.count = static_cast<std::uint8_t>(count.value_or(0));
    return count.has_value();
  }
  i.space = Space::kShared;
  return operands.empty() ||
         (operands.size() == 4 && operands[2] == "16" && address(operands[0], i, 0) &&
          address(operands[1], i, 1) && values({operands[3]}, "u32", i.from + 2));
}

bool FunctionReader::decode_move(const Name& name, const Operands& operands, Instruction& i) {
  if (operands.size() != 2) return false;
  const std::string_view type = name.back();
  if (name[0] == "cvta") {
    i.run = find_address_conversion(name);
    return i.run != nullptr && values({operands[0]}, type, i.to) &&
           values({operands[1]}, type, i.from);
  }
  const Operands to = elements(operands[0]);
  const Operands from = elements(operands[1]);
  const std::size_t many = std::max(to.size(), from.size());
  if (many > 4 || (to.size() > 1 && from.size() > 1)) return false;
  const std::uint32_t bytes = stride_of(type);
  i.count = static_cast<std::uint8_t>(many);
  i.run = find_move(from.size() > 1, to.size() > 1,
                    static_cast<unsigned>(many > 1 ? bytes / many : bytes));
  return values(to, type, i.to) && values(from, type, i.from);
}

bool FunctionReader::decode_exchange(const Name& name, const Operands& operands, Instruction& i) {
  i.run = find_exchange(name);
  if (i.run == nullptr) return false;
  if (name[0] == "bar") {
    // Of a block's 16 barriers only the first, and of all its threads.
    const bool block = name.size() == 2;
    return operands.size() == 1 && (!block || operands[0] == "0") &&
           values(operands, "u32", i.from);
  }
  if (name[0] == "ldmatrix") {
    i.space = Space::kShared;
    return operands.size() == 2 && values(elements(operands[0]), "b32", i.to) &&
           address(operands[1], i, 0);
  }
  if (name[0] == "mma") {
    return operands.size() == 4 && values(elements(operands[0]), "f32", i.to) &&
           values(elements(operands[1]), "b32", i.from) &&
           values(elements(operands[2]), "b32", i.from + 4) &&
           values(elements(operands[3]), "f32", i.from + 6);
  }
  if (name[0] == "vote") {
    const auto vote = operands.size() == 3 ? predicate(operands[1]) : std::nullopt;
    i.predicates[0] = vote.value_or(0);
    return vote && values({operands[0]}, "b32", i.to) && values({operands[2]}, "b32", i.from);
  }
  if (operands.size() != 5) return false;
  const std::size_t bar = operands[0].find('|');
  if (bar != std::string_view::npos) {
    const auto inside = predicate(trimmed(operands[0].substr(bar + 1)));
    if (!inside) return false;
    i.predicate = *inside;
  }
  return values({trimmed(operands[0].substr(0, bar))}, "b32", i.to) &&
         values({operands.begin() + 1, operands.end()}, "b32", i.from);
}

bool FunctionReader::decode_predicate(const Name& name, const Operands& operands, Instruction& i) {
  const bool compares = name[0] == "setp";
  i.run = compares ? find_comparison(name) : find_predicate(name);
  if (i.run == nullptr || operands.size() < 2) return false;
  const auto to = predicate(operands[0]);
  if (!to) return false;
  i.predicate = *to;
  if (compares) {
    return operands.size() == 3 && values({operands[1], operands[2]}, name.back(), i.from);
  }
  for (std::size_t k = 1; k < operands.size(); ++k) {
    const auto from = k <= 2 ? predicate(operands[k]) : std::nullopt;
    if (!from) return false;
    i.predicates[k - 1] = *from;
  }
  return true;
}

bool FunctionReader::decode_arithmetic(const Name& name, const Operands& operands, Instruction& i) {
  i.run = name[0] == "cvt" ? find_conversion(name) : find_arithmetic(name);
  if (i.run == nullptr || operands.size() < 2 || operands.size() > 5) return false;
  Operands from(operands.begin() + 1, operands.end());
  if (name[0] == "selp") {
    const auto chooses = predicate(from.back());
    if (!chooses) return false;
    i.predicates[0] = *chooses;
    from.pop_back();
  }
  if (!values({operands[0]}, name.back(), i.to)) return false;
  for (std::size_t k = 0; k < from.size(); ++k) {
    // How far to shift, and which bits to insert, is 32 bits whatever the type.
    const bool counts =
        ((name[0] == "shl" || name[0] == "shr") && k == 1) || (name[0] == "bfi" && k >= 2);
    const bool sum = name[0] == "mad" && name[1] == "wide" && k == 2;
    const std::string_view type = counts ? "u32" : sum ? "u64" : name.back();
    if (!values({from[k]}, type, i.from + k)) return false;
  }
  return true;
}

bool FunctionReader::decode(const Name& name, const Operands& operands, Instruction& i) {
  if (name[0] == "bra") {
    if (operands.size() != 1) return false;
    branches_.push_back({function_.code.size(), std::string(operands[0])});
    i.run = find_control(name);
    return true;
  }
  i.run = find_control(name);
  if (i.run != nullptr) return true;
  if (name[0] == "cp") return decode_copy(name, operands, i);
  if (find_memory(name) != nullptr) return decode_memory(name, operands, i);
  if (name.back() == "pred" || name[0] == "setp") return decode_predicate(name, operands, i);
  if (name[0] == "mov" || name[0] == "cvta") return decode_move(name, operands, i);
  if (find_exchange(name) != nullptr) return decode_exchange(name, operands, i);
  return decode_arithmetic(name, operands, i);
}

void FunctionReader::instruction(std::string_view statement, std::uint32_t line) {
  Instruction i;
  i.line = line;
  bool known = true;
  if (statement.starts_with('@')) {
    i.guard_negated = statement[1] == '!';
    const std::size_t end = statement.find_first_of(" \t");
    const std::size_t begin = i.guard_negated ? 2 : 1;
    const auto guard = predicate(statement.substr(begin, end - begin));
    known = guard.has_value();
    i.guard = guard.value_or(0);
    statement = trimmed(statement.substr(end));
  }
  const std::size_t end = std::min(statement.find_first_of(" \t\n"), statement.size());
  const Name name = parts_of(statement.substr(0, end));
  if (!known || !decode(name, split_operands(statement.substr(end)), i)) i.run = &unknown;
  function_.code.push_back(i);
}

void FunctionReader::finish() {
  for (const auto& [at, name] : branches_) {
    const auto found = labels_.find(name);
    if (found == labels_.end()) die("no label " + name + " in " + function_.name);
    function_.code[at].target = found->second;
  }
  Instruction end;
  end.run = find_control({"ret"});
  function_.code.push_back(end);
}

}  // namespace ptx
