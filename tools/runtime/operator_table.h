// --ops: where the time of steps goes, operator by operator, beside the bytes and operations that
// each cannot avoid (core/engine/step_work.h).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "core/base/json_fwd.h"
#include "core/engine/session.h"
#include "core/engine/step_work.h"
#include "tools/probes/machine_probe.h"

namespace rt {

// All calls of one implementation in one step class.
struct OperatorRow {
  bool decode = false;
  std::string op;
  std::string implementation;  // "linear_cpu/avx2"
  std::uint64_t calls = 0;
  double seconds = 0;
  StepWork work;
};

class OperatorTable {
 public:
  explicit OperatorTable(const Blueprint& blueprint) : blueprint_(&blueprint) {}

  void add(const NodeReport& report);
  // Those that took most first.
  std::vector<OperatorRow> rows() const;

 private:
  const Blueprint* blueprint_;
  std::map<std::tuple<bool, std::string, std::string>, OperatorRow> rows_;
};

// What the operators of `seconds` of work came to. The last line is the time between nodes.
std::string operator_text(const std::vector<OperatorRow>& rows, double seconds,
                          const probe::Limits& limits);
Json operator_json(const std::vector<OperatorRow>& rows, double seconds,
                   const probe::Limits& limits);

}  // namespace rt
