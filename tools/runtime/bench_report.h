// How `runtime bench` prints what it measured: md and csv as rows of a table, json as one list,
// jsonl as one object per line. Keys that llama-bench has too mean what they mean there.
#pragma once

#include <string>
#include <vector>

#include "core/base/json_fwd.h"
#include "core/base/result.h"
#include "tools/runtime/bench_run.h"

namespace rt {

class BenchReport {
 public:
  // md, csv, json or jsonl.
  explicit BenchReport(std::string format) : format_(std::move(format)) {}

  // Prints a result as soon as it is there.
  Status add(const BenchResult& result);
  // What comes after the last one: the list's end, the tables of operators.
  Status finish();

 private:
  std::string format_;
  bool empty_ = true;
  std::string tables_;  // of operators, as Markdown
};

// Everything about one row.
Json bench_json(const BenchResult& result);

}  // namespace rt
