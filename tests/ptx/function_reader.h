// Reads the body of one function.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/ptx/operations.h"
#include "tests/ptx/program.h"

namespace ptx {

class FunctionReader {
 public:
  FunctionReader(Function& function, Symbols symbols)
      : function_(function), symbols_(std::move(symbols)) {}

  // Statements in the order of the text, without their semicolons. Then finish().
  void declare_registers(std::string_view statement);
  void declare_local(std::string_view statement);
  void label(std::string_view name);
  void instruction(std::string_view statement, std::uint32_t line);
  void finish();

 private:
  struct Register {
    bool predicate;
    std::uint32_t stride;
    std::uint32_t first;  // offset, or a predicate's index
    std::uint32_t count;
  };
  using Operands = std::vector<std::string_view>;

  const Register* find(std::string_view name, std::uint32_t* index) const;
  std::optional<Operand> value(std::string_view text, std::string_view type);
  std::optional<std::uint32_t> predicate(std::string_view text);
  std::optional<Operand> number(std::string_view text, std::string_view type);
  Operand constant(std::uint64_t value, std::uint32_t stride);
  bool values(const Operands& texts, std::string_view type, Operand* to);
  bool address(std::string_view text, Instruction& i, unsigned index);

  // False: not an instruction that is known, or not with such operands.
  bool decode(const Name& name, const Operands& operands, Instruction& i);
  bool decode_move(const Name& name, const Operands& operands, Instruction& i);
  bool decode_memory(const Name& name, const Operands& operands, Instruction& i);
  bool decode_copy(const Name& name, const Operands& operands, Instruction& i);
  bool decode_exchange(const Name& name, const Operands& operands, Instruction& i);
  bool decode_predicate(const Name& name, const Operands& operands, Instruction& i);
  bool decode_arithmetic(const Name& name, const Operands& operands, Instruction& i);

  Function& function_;
  Symbols symbols_;
  std::map<std::string, Register, std::less<>> registers_;  // by name, or by what is before "<"
  std::map<std::string, std::uint32_t, std::less<>> labels_;
  std::vector<std::pair<std::size_t, std::string>> branches_;
  std::map<std::pair<std::uint64_t, std::uint32_t>, Operand> constants_;
};

// "a, {b, c}, [d]" at the commas outside brackets, without blanks around.
std::vector<std::string_view> split_operands(std::string_view text);
std::string_view trimmed(std::string_view text);

}  // namespace ptx
