// `runtime bench`: tokens per second beside what the machine could do, with llama-bench's flags.
#include <cstdio>

#include "tools/runtime/bench_plan.h"
#include "tools/runtime/bench_report.h"
#include "tools/runtime/bench_run.h"
#include "tools/runtime/deployment.h"
#include "tools/runtime/interrupt.h"
#include "tools/runtime/progress_bar.h"
#include "tools/runtime/verbs.h"

namespace rt {
namespace {

// "test 3 of 8, pp512: repetition 2 of 5" on a terminal.
class BenchProgress {
 public:
  BenchProgress(const Settings& settings, std::size_t tests, std::int64_t repetitions)
      : wanted_(progress_wanted(settings)), tests_(tests), repetitions_(repetitions) {}
  ~BenchProgress() { clear(); }
  BenchProgress(const BenchProgress&) = delete;
  BenchProgress& operator=(const BenchProgress&) = delete;

  void next(const BenchTest& test) {
    ++test_;
    name_ = test.name();
  }
  void show(std::int64_t repetition) const {
    if (!wanted_) return;
    std::fprintf(stderr, "\r\x1b[Ktest %zu of %zu, %s: ", test_, tests_, name_.c_str());
    if (repetition < 0) {
      std::fputs("warming up", stderr);
    } else {
      std::fprintf(stderr, "repetition %lld of %lld", static_cast<long long>(repetition + 1),
                   static_cast<long long>(repetitions_));
    }
  }
  void clear() const {
    if (wanted_) std::fputs("\r\x1b[K", stderr);
  }

 private:
  bool wanted_;
  std::size_t tests_;
  std::int64_t repetitions_;
  std::size_t test_ = 0;
  std::string name_;
};

class Bench {
 public:
  explicit Bench(Settings& settings) : settings_(settings) {}

  Result<ExitCode> run() {
    RT_RETURN_IF_ERROR(prepare());
    BenchReport report(settings_.flag("json") && !settings_.given("bench.output")
                           ? "json"
                           : settings_.text("bench.output"));
    BenchProgress progress(settings_, plan_.tests.size() * plan_.deployments.size(),
                           options_.repetitions);
    const AnswerScope scope;
    for (Settings& deployment : plan_.deployments) {
      if (interrupted()) break;
      RT_RETURN_IF_ERROR(run_tests(deployment, report, progress));
    }
    RT_RETURN_IF_ERROR(report.finish());
    RT_RETURN_IF_ERROR(trace_->close());
    return interrupted() ? kInterruptedExit : 0;
  }

 private:
  Status prepare() {
    RT_TRY(plan_, bench_plan(settings_));
    options_.repetitions = settings_.integer("bench.repetitions");
    options_.warmup = !settings_.flag("bench.no_warmup");
    options_.operators = settings_.flag("ops");
    if (options_.operators && settings_.text("bench.output") == "csv") {
      return bad_input("--ops: a table per test has no place in csv; take -o md, json or jsonl");
    }
    RT_RETURN_IF_ERROR(check_planners());
    RT_TRY(trace_, TraceFile::open(settings_.text("trace")));
    const std::uint64_t bytes =
        settings_.flag("bench.no_probe") ? 0 : settings_.bytes("bench.probe");
    probe_ = std::make_unique<probe::MachineProbe>(bytes);
    return {};
  }

  // Before the first is measured: minutes may pass until the last is opened.
  Status check_planners() {
    RT_TRY(const auto registry, scan_plugins(settings_));
    for (const Settings& deployment : plan_.deployments) {
      const auto planner = registry->planner(deployment.text("planner.name"));
      if (!planner.ok()) return planner.error();
    }
    return {};
  }

  Status run_tests(Settings& deployment, BenchReport& report, BenchProgress& progress) {
    RT_TRY(const auto session, BenchSession::open(deployment, plan_, *probe_, *trace_, options_));
    for (const BenchTest& test : plan_.tests) {
      progress.next(test);
      RT_TRY(const BenchResult result,
             session->measure(test, [&](std::int64_t i) { progress.show(i); }));
      progress.clear();
      if (interrupted()) return {};  // a repetition that was cut short is no measurement
      RT_RETURN_IF_ERROR(report.add(result));
    }
    return {};
  }

  Settings& settings_;
  BenchPlan plan_;
  BenchOptions options_;
  std::unique_ptr<TraceFile> trace_;
  std::unique_ptr<probe::MachineProbe> probe_;
};

}  // namespace

Result<ExitCode> run_bench(Settings& settings) {
  return Bench(settings).run();
}

}  // namespace rt
