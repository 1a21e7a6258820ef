// One long chat under several planners, in turns, so that a machine whose speed drifts treats them
// alike: turn i runs under every planner before turn i + 1 runs under any. Random weights of the
// graph's full size, one copy per planner. docs/BENCHMARKS.md has the results.
//
//   bench_planners GRAPH[:DIR] TURNS PROMPT NEW THREADS PLANNER...
//
// The config.json of DIR has the model's sizes. THREADS may be `cuda`. A planner may have options:
// elastic:stripe=256. Plugins lie beside the program, as those of the command.
//
// Prints a row per planner: decode speed (median over turns) and the median of its ratio to the
// first planner's in the same turn, KV and total peak, copies, address changes, step latency.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "core/base/bytes.h"
#include "core/engine/session.h"
#include "core/plugin/registry.h"

namespace {

using namespace rt;
using Clock = std::chrono::steady_clock;

struct Shape {
  int turns = 0;
  std::uint64_t prompt_tokens = 0;  // per turn
  std::uint64_t new_tokens = 0;
};

template <class T>
T need(Result<T> result) {
  if (result.ok()) return std::move(result).value();
  std::fprintf(stderr, "bench_planners: %s\n", result.error().message.c_str());
  std::exit(2);
}

double quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  return values[static_cast<std::size_t>(q * static_cast<double>(values.size() - 1) + 0.5)];
}

// A chat under one planner, with what its steps took.
class Runner {
 public:
  Runner(Registry& registry, const EngineOptions& options)
      : session_(need(Session::open(need(draw(registry, options))))),
        sequence_(need(session_->start())) {
    sequence_->sampling.temperature = 0;
    sequence_->reserve(session_->context_tokens());
  }

  void run_turn(int turn, const Shape& shape) {
    for (std::uint64_t i = 0; i < shape.prompt_tokens; ++i) {
      sequence_->push(static_cast<std::int32_t>((turn * 31 + i * 7) % 1000 + 3));
    }
    sequence_->set_budget(sequence_->ids().size() + shape.new_tokens);
    sequence_->push(need(session_->run(*sequence_)).sampled);
    double seconds = 0;
    for (std::uint64_t i = 1; i < shape.new_tokens; ++i) {
      const auto start = Clock::now();
      sequence_->push(need(session_->run(*sequence_)).sampled);
      steps_ms_.push_back(std::chrono::duration<double, std::milli>(Clock::now() - start).count());
      seconds += steps_ms_.back() / 1000;
    }
    rates_.push_back(static_cast<double>(shape.new_tokens - 1) / seconds);
  }

  void print(const std::string& planner, const Runner& first) const {
    std::vector<double> ratios;
    for (std::size_t i = 0; i < rates_.size(); ++i) ratios.push_back(rates_[i] / first.rates_[i]);
    const Ledger& ledger = session_->ledger();
    std::printf(
        "| `%s` | %.2f | %.3f [%.3f, %.3f] | %s | %s | %s | %llu | %.1f | %.1f |\n",
        planner.c_str(), quantile(rates_, 0.5), quantile(ratios, 0.5), quantile(ratios, 0.25),
        quantile(ratios, 0.75), format_bytes(ledger.peak()[MemoryKind::kKv]).c_str(),
        format_bytes(ledger.peak_owned()).c_str(), format_bytes(ledger.events.copied_bytes).c_str(),
        static_cast<unsigned long long>(ledger.events.address_changes), quantile(steps_ms_, 0.5),
        quantile(steps_ms_, 0.999));
  }

 private:
  std::unique_ptr<Session> session_;
  std::unique_ptr<Sequence> sequence_;
  std::vector<double> rates_;     // tokens per second of each turn's decode
  std::vector<double> steps_ms_;  // of every decode step
};

// "elastic" or "elastic:stripe=256".
void set_planner(const std::string& word, EngineOptions& options) {
  const std::size_t colon = word.find(':');
  const std::size_t equals = word.find('=');
  options.planner = word.substr(0, colon);
  options.planner_options.clear();
  if (colon == std::string::npos || equals == std::string::npos) return;
  options.planner_options = {{word.substr(colon + 1, equals - colon - 1),
                              std::int64_t{std::atoi(word.c_str() + equals + 1)}}};
}

int run(const std::vector<std::string>& words) {
  const Shape shape{std::atoi(words[1].c_str()), std::strtoull(words[2].c_str(), nullptr, 10),
                    std::strtoull(words[3].c_str(), nullptr, 10)};
  if (shape.turns < 1 || shape.prompt_tokens < 1 || shape.new_tokens < 2) {
    std::fprintf(stderr, "bench_planners: at least 1 turn of 1 prompt and 2 new tokens\n");
    return 2;
  }
  RegistryOptions places;
  places.sources = process_sources({});
  const std::unique_ptr<Registry> registry = Registry::scan(places);
  EngineOptions options;
  const std::size_t colon = words[0].find(':');
  options.graph = words[0].substr(0, colon);
  if (colon != std::string::npos) options.weights = words[0].substr(colon + 1);
  options.source = WeightSource::kRandom;
  if (words[4] == "cuda") {
    options.device = words[4];
  } else {
    options.device_options = {{"threads", std::int64_t{std::atoi(words[4].c_str())}}};
  }
  const std::vector<std::string> planners(words.begin() + 5, words.end());
  std::vector<Runner> runners;
  runners.reserve(planners.size());
  for (const std::string& planner : planners) {
    set_planner(planner, options);
    runners.emplace_back(*registry, options);
  }
  for (int turn = 0; turn < shape.turns; ++turn) {
    // A different one begins each time: who runs first after a pause may find a cooler machine.
    for (std::size_t i = 0; i < runners.size(); ++i) {
      runners[(i + static_cast<std::size_t>(turn)) % runners.size()].run_turn(turn, shape);
    }
  }
  std::printf(
      "| planner | tok/s | of `%s`, same turn | KV peak | total peak | copied | "
      "address changes | p50 ms | p99.9 ms |\n|---|---|---|---|---|---|---|---|---|\n",
      planners[0].c_str());
  for (std::size_t i = 0; i < runners.size(); ++i) runners[i].print(planners[i], runners[0]);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 7) {
    std::fprintf(stderr, "bench_planners GRAPH[:DIR] TURNS PROMPT NEW THREADS PLANNER...\n");
    return 2;
  }
  return run({argv + 1, argv + argc});
}
