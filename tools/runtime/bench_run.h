// Runs the tests of `runtime bench` on one session: the cache is filled to the depth and cut back
// to it before every repetition, uncounted; the machine is probed just before each.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/engine/step_work.h"
#include "tools/probes/machine_probe.h"
#include "tools/runtime/bench_plan.h"
#include "tools/runtime/device_probe.h"
#include "tools/runtime/loaded_model.h"
#include "tools/runtime/operator_table.h"
#include "tools/runtime/trace_file.h"

namespace rt {

// What ran.
struct BenchModel {
  std::string name;
  std::uint64_t weight_bytes = 0;  // as they lie in memory
  std::uint64_t parameters = 0;
  std::string weights_format;
  std::string kv_dtype;
  std::string planner;
  std::string device;
  std::string device_name;
  std::uint32_t threads = 0;  // 0: a device without such
  std::uint32_t step_tokens = 0;
};

struct BenchResult {
  BenchModel model;
  BenchTest test;
  std::vector<double> seconds;         // of each repetition
  std::vector<probe::Limits> limits;   // just before each; of a GPU what a copy moves, its product
  std::string product;                 // the implementation behind a GPU's peak; "": not asked
  StepWork work;                       // of one repetition, at least
  std::uint64_t peak_bytes = 0;        // of device memory until now, by the ledger
  std::uint64_t captures = 0;          // decode steps that the session has recorded until now
  std::vector<OperatorRow> operators;  // of one more repetition, observed
  double observed_seconds = 0;         // which took that long

  std::vector<double> tokens_per_second() const;
};

// Middle value; of an even number the mean of both.
double median(std::vector<double> values);
// Of each limit on its own.
probe::Limits median_limits(const std::vector<probe::Limits>& limits);

struct BenchOptions {
  std::int64_t repetitions = 5;
  bool warmup = true;
  bool operators = false;
};

class BenchSession {
 public:
  // Loads the model with room for the longest of the tests. The others outlive the session.
  static Result<std::unique_ptr<BenchSession>> open(Settings& deployment, const BenchPlan& plan,
                                                    probe::MachineProbe& probe, TraceFile& trace,
                                                    BenchOptions options);
  ~BenchSession();

  // progress(i) is told before repetition i; i < 0: filling the cache, warming up.
  Result<BenchResult> measure(const BenchTest& test,
                              const std::function<void(std::int64_t)>& progress);

 private:
  BenchSession(probe::MachineProbe& probe, TraceFile& trace, BenchOptions options)
      : probe_(probe), trace_(trace), options_(options) {}
  void describe(const Settings& deployment);
  void push_random(std::uint64_t tokens);
  Status go_to(std::uint64_t depth);
  Result<double> run(const BenchTest& test);
  Status warm_up(const BenchTest& test);
  probe::Limits measure_limits(const BenchTest& test);
  Status observe(const BenchTest& test, BenchResult& result);
  StepWork work_of(const BenchTest& test) const;

  probe::MachineProbe& probe_;
  TraceFile& trace_;
  BenchOptions options_;
  LoadedModel loaded_;
  BenchModel model_;
  std::optional<ProductRate> product_;  // of a GPU, once there is a prompt to hold against it
  std::unique_ptr<Sequence> sequence_;
  std::uint64_t random_ = 1;
};

}  // namespace rt
