// The syntax tree of an expression; private to expression_parse.cc and expression_evaluate.cc.
#pragma once

#include <string>
#include <vector>

#include "core/graph/expression.h"

namespace rt {

struct Term {
  enum class Kind : std::uint8_t {
    kLiteral,
    kName,
    kNegate,
    kNot,
    kAnd,
    kOr,
    kCompare,     // name: the operator
    kArithmetic,  // name: the operator
    kIn,
    kIf,     // args: value, condition, other value
    kIndex,  // args: list, index
    kList,
    kCall,  // name: the function
  };

  Kind kind = Kind::kLiteral;
  std::string name;
  Value literal;
  std::vector<Term> args;
  std::uint32_t offset = 0;  // in the expression's text
};

// An error in `text`, which begins at `where`, at its byte `offset`.
Error expression_error(const YamlPosition& where, std::string_view text, std::size_t offset,
                       const std::string& message);

}  // namespace rt
