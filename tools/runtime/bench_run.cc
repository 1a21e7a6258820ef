#include "tools/runtime/bench_run.h"

#include <algorithm>
#include <chrono>
#include <string>

#include "core/base/text.h"
#include "tools/runtime/deployment.h"
#include "tools/runtime/interrupt.h"

namespace rt {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

std::uint64_t most_tokens(const BenchPlan& plan) {
  std::uint64_t most = 1;
  for (const BenchTest& test : plan.tests) most = std::max(most, test.depth + test.tokens());
  return most;
}

// A test that no context holds is refused before anything is loaded.
Status check_context(const BenchPlan& plan, std::uint64_t context) {
  for (const BenchTest& test : plan.tests) {
    if (test.depth + test.tokens() <= context) continue;
    return bad_input(test.name() + ": " + std::to_string(test.depth + test.tokens()) +
                     " tokens do not fit in the model's context of " + std::to_string(context) +
                     "; measure less, or give --weights random:DIR with a config.json that says "
                     "more");
  }
  return {};
}

// Greedy, for what is drawn is not looked at, unless it is the drawing that is to be measured.
Sampling bench_sampling(const Settings& deployment) {
  Sampling sampling;
  sampling.temperature = 0;
  if (deployment.level("sampling.temperature") < Level::kEnvironment) return sampling;
  sampling = sampling_of(deployment);
  sampling.seed = 0;
  return sampling;
}

}  // namespace

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

probe::Limits median_limits(const std::vector<probe::Limits>& limits) {
  const auto of = [&](double probe::Limits::*member) {
    std::vector<double> values;
    for (const probe::Limits& one : limits) values.push_back(one.*member);
    return median(std::move(values));
  };
  return {of(&probe::Limits::read_bytes), of(&probe::Limits::f32_flops),
          of(&probe::Limits::bf16_flops), of(&probe::Limits::int8_ops)};
}

std::vector<double> BenchResult::tokens_per_second() const {
  std::vector<double> speeds;
  for (const double s : seconds) speeds.push_back(static_cast<double>(test.tokens()) / s);
  return speeds;
}

Result<std::unique_ptr<BenchSession>> BenchSession::open(Settings& deployment,
                                                         const BenchPlan& plan,
                                                         probe::MachineProbe& probe,
                                                         TraceFile& trace, BenchOptions options) {
  std::unique_ptr<BenchSession> bench(new BenchSession(probe, trace, options));
  RT_TRY(bench->loaded_, draw_model(deployment, Need::kWeights));
  RT_RETURN_IF_ERROR(check_context(plan, bench->loaded_.blueprint->bounds.context_tokens));
  const std::uint64_t most = most_tokens(plan);
  bench->loaded_.options.context_tokens = most;
  RT_RETURN_IF_ERROR(open_model(bench->loaded_, deployment, {most - 1, 1, true}));
  bench->describe(deployment);
  Session& session = *bench->loaded_.session;
  RT_TRY(bench->sequence_, session.start(most));
  bench->sequence_->reserve(most + 1);
  bench->sequence_->sampling = bench_sampling(deployment);
  trace.watch(session);
  return bench;
}

BenchSession::~BenchSession() {
  trace_.unwatch();
}

void BenchSession::describe(const Settings& deployment) {
  const Blueprint& b = loaded_.session->blueprint();
  const std::string format = join(deployment.list("weights_format"), ",");
  model_.name = b.graph.name;
  model_.weight_bytes = placed_weight_bytes(b);
  model_.parameters = parameter_count(b.graph);
  model_.weights_format =
      format.empty() || format == "auto" ? dtype_name(b.weights_dtype()) : format;
  model_.kv_dtype = dtype_name(b.kv_dtype);
  model_.planner = b.options.planner;
  model_.device = b.desc.kind;
  model_.device_name = b.desc.name == nullptr ? "" : b.desc.name;
  model_.threads = b.desc.threads;
  model_.step_tokens = b.bounds.tokens;
}

// Ids from a fixed sequence (Knuth's MMIX constants): speed has no use for meaning.
void BenchSession::push_random(std::uint64_t tokens) {
  const std::uint64_t vocabulary = loaded_.session->graph().vocabulary();
  for (std::uint64_t i = 0; i < tokens; ++i) {
    random_ = random_ * 6364136223846793005u + 1442695040888963407u;
    sequence_->push(static_cast<std::int32_t>((random_ >> 33) % vocabulary));
  }
}

// Also where a ring has overwritten what the depth needs: that is computed again.
Status BenchSession::go_to(std::uint64_t depth) {
  RT_RETURN_IF_ERROR(sequence_->truncate(std::min<std::uint64_t>(depth, sequence_->ids().size())));
  push_random(depth - sequence_->ids().size());
  if (sequence_->pending() == 0) return {};
  const auto row = loaded_.session->run(*sequence_);
  return row.ok() ? Status() : row.error();
}

Result<double> BenchSession::run(const BenchTest& test) {
  const Clock::time_point begin = Clock::now();
  StepRow row;
  if (test.prompt > 0) {
    push_random(test.prompt);
    RT_TRY(row, loaded_.session->run(*sequence_));
  }
  for (std::uint64_t i = 0; i < test.generated && !interrupted(); ++i) {
    // As an answer is generated: what was drawn goes in, and the step behind it is expected.
    row.sequence == nullptr ? push_random(1) : sequence_->push(row.sampled);
    RT_TRY(row, loaded_.session->run(*sequence_, i + 1 < test.generated));
  }
  return seconds_since(begin);
}

// As llama-bench: the prompt once, one token once; three where a decode step is recorded, which the
// second does.
Status BenchSession::warm_up(const BenchTest& test) {
  RT_RETURN_IF_ERROR(go_to(0));
  const std::uint64_t most = loaded_.session->blueprint().desc.can_capture != 0 ? 3 : 1;
  const auto seconds = run({test.prompt, std::min(test.generated, most), 0});
  return seconds.ok() ? Status() : seconds.error();
}

StepWork BenchSession::work_of(const BenchTest& test) const {
  const Blueprint& b = loaded_.session->blueprint();
  StepWork work;
  std::uint64_t at = test.depth;
  for (const std::uint64_t end = at + test.prompt; at < end;) {
    const std::uint64_t tokens = std::min<std::uint64_t>(b.bounds.tokens, end - at);
    at += tokens;
    work += step_work(b, tokens, at, at == end ? 1 : 0);
  }
  for (std::uint64_t i = 0; i < test.generated; ++i) work += step_work(b, 1, ++at, 1);
  return work;
}

Status BenchSession::observe(const BenchTest& test, BenchResult& result) {
  Session& session = *loaded_.session;
  OperatorTable table(session.blueprint());
  RT_RETURN_IF_ERROR(go_to(test.depth));
  session.observe_nodes([&](const NodeReport& report) {
    table.add(report);
    trace_.add_node(report);
  });
  const Result<double> seconds = run(test);
  session.observe_nodes({});
  if (!seconds.ok()) return seconds.error();
  result.observed_seconds = *seconds;
  result.operators = table.rows();
  return {};
}

// Of the processor that computes. A GPU's arithmetic is asked once, by the fastest product that its
// plugins have, and only for prompts: it takes half a second.
probe::Limits BenchSession::measure_limits(const BenchTest& test) {
  if (model_.threads > 0) return probe_.measure(model_.threads, true);
  const Blueprint& b = loaded_.session->blueprint();
  probe::Limits limits;
  limits.read_bytes = device_copy_rate(b, probe_.bytes());
  if (test.prompt == 0) return limits;
  if (!product_) product_ = device_product_rate(*loaded_.registry, b, probe_.bytes());
  (b.desc.value_dtype == RT_F32 ? limits.f32_flops : limits.bf16_flops) = product_->flops;
  return limits;
}

Result<BenchResult> BenchSession::measure(const BenchTest& test,
                                          const std::function<void(std::int64_t)>& progress) {
  BenchResult result;
  result.model = model_;
  result.test = test;
  result.work = work_of(test);
  progress(-1);
  if (options_.warmup) RT_RETURN_IF_ERROR(warm_up(test));
  const bool probed = probe_.bytes() > 0;
  for (std::int64_t i = 0; i < options_.repetitions && !interrupted(); ++i) {
    progress(i);
    RT_RETURN_IF_ERROR(go_to(test.depth));
    if (probed) result.limits.push_back(measure_limits(test));
    RT_TRY(const double seconds, run(test));
    result.seconds.push_back(seconds);
  }
  if (test.prompt > 0 && product_) result.product = product_->implementation;
  if (options_.operators && !interrupted()) RT_RETURN_IF_ERROR(observe(test, result));
  const Ledger& ledger = loaded_.session->ledger();
  result.peak_bytes = ledger.peak_owned() + ledger.peak()[MemoryKind::kWeightsMapped];
  result.captures = loaded_.session->captures();
  return result;
}

}  // namespace rt
