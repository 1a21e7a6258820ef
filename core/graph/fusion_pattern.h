// What a fused operator (rt_fusion) computes: a small piece of graph, written as the body of a
// block and held against nothing but itself. Which operators there are is fused_operator.h's
// affair.
//
// Invariants: every name is made once, by `in` or by a node; every input is read and everything
// that is made is read or under `out`; nodes stand in an order in which they can run; they hang
// together by the names that they share.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/base/result.h"
#include "core/graph/document.h"

namespace rt {

constexpr std::size_t kMostPatternNodes = 32;

struct FusionPattern {
  std::vector<std::string> in;
  std::vector<std::string> out;
  std::vector<NodeDeclaration> nodes;

  // "rms_norm@1", each once, as they first stand in the text.
  std::vector<std::string> operators() const;
};

// `where` names the pattern in errors.
Result<FusionPattern> parse_fusion_pattern(const char* text, const std::string& where);

// "rms_norm@1"
std::string operator_text(const NodeDeclaration& node);

}  // namespace rt
