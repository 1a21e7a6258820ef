#include "tools/conformance/verdict.h"

#include <algorithm>
#include <cmath>

#include "core/sdk/number.hpp"
#include "core/sdk/sdk.hpp"
#include "core/sdk/weight_format.hpp"

namespace rt::conformance {
namespace {

// Products with rounded inputs (no RT_TRAIT_EXACT): bf16 keeps 8 bits, so a sum of K terms of size
// 1/sqrt(K) errs by about 2^-9, whatever is left of it where terms cancel; five times that, of the
// largest element of the result and at least of 1, is a mistake and not rounding. With weights of
// int8, x may be rounded to int8 too, whose step is 1/127 of a token's largest element: by the same
// count 4e-3 (1.7 / 127 / sqrt(12)), and in mlp of three products one after the other. Weights of
// nf4 whose values are rounded to 127ths err as much again.
constexpr double kInexactTolerance = 1e-2;
constexpr double kInexactInt8Tolerance = 3e-2;

double tolerance_of(const rt_implementation& implementation, const Problem& problem) {
  if ((implementation.traits & RT_TRAIT_EXACT) != 0) return 0;
  for (const Input& input : problem.inputs) {
    if (sdk::weight_is_quantized(input.dtype)) return kInexactInt8Tolerance;
  }
  return kInexactTolerance;
}

double largest(const RunOutcome& outcome) {
  double out = 1;
  for (std::size_t o = 0; o < outcome.outputs.size(); ++o) {
    const rt_dtype dtype = outcome.shapes[o].dtype;
    if (dtype == RT_I32) continue;
    for (std::uint64_t e = 0; e < outcome.outputs[o].size() / sdk::dtype_bytes(dtype); ++e) {
      out = std::max(out, std::abs(double{sdk::load_number(outcome.outputs[o].data(), dtype, e)}));
    }
  }
  return out;
}

// Results that are rounded to 16 bits: the two sides may round to neighbours, and inside a fused
// operator every part may.
double rounding_of(rt_dtype value_dtype, bool fused) {
  const double once = value_dtype == RT_BF16 ? 0x1p-7 : value_dtype == RT_F16 ? 0x1p-10 : 0;
  return fused ? 4 * once : once;
}

// "" or how the two differ in any bit.
std::string any_difference(const RunOutcome& found, const RunOutcome& expected) {
  if (found.status != RT_OK) return found.stage + " refuses: " + found.text;
  if (found.outputs == expected.outputs) return "";
  const std::string where = difference(found, expected, 0, 0);
  return where.empty() ? "other bits (a zero's sign)" : where;
}

// Of what a run of the whole step gave: the part that belongs to sequence b.
RunOutcome part_of(const Problem& problem, const RunOutcome& whole, std::size_t b) {
  RunOutcome part = whole;
  for (std::size_t o = 0; o < whole.outputs.size(); ++o) {
    const auto size_of = [&](const Sequence& sequence) {
      return whole.leading[o] == RT_DIM_TOKENS
                 ? std::int64_t{sequence.tokens}
                 : std::max<std::int64_t>(1, std::ssize(sequence.rows));
    };
    std::int64_t first = 0;
    for (std::size_t i = 0; i < b; ++i) first += size_of(problem.sequences[i]);
    const std::int64_t row_bytes = std::ssize(whole.outputs[o]) / whole.shapes[o].shape[0];
    const auto begin = whole.outputs[o].begin() + first * row_bytes;
    part.outputs[o].assign(begin, begin + size_of(problem.sequences[b]) * row_bytes);
    part.shapes[o].shape[0] = size_of(problem.sequences[b]);
  }
  return part;
}

// "" or how the caches differ. Rows that are given to the operator are equal to the byte; those
// that a fused operator makes on the way are as near as its results. Codes may then round to
// neighbours; that they are right is seen in what attention makes of them.
std::string cache_difference(const Contract& contract, const Problem& problem,
                             const RunOutcome& found, const RunOutcome& expected, double absolute,
                             double relative) {
  if (found.kv == expected.kv) return "";
  const std::uint64_t size = problem.kv ? sdk::dtype_bytes(problem.kv->dtype) : 0;
  if (!contract.fused) return "other bytes than the reference leaves";
  if (size == 0) return "";
  for (std::uint64_t e = 0; e < expected.kv.size() / size; ++e) {
    const double a = sdk::load_number(found.kv.data(), problem.kv->dtype, e);
    const double b = sdk::load_number(expected.kv.data(), problem.kv->dtype, e);
    if (std::isnan(a) && std::isnan(b)) continue;
    if (std::abs(a - b) <= absolute + relative * std::abs(b)) continue;
    return sdk::format("element %llu: found %.9g, expected %.9g",
                       static_cast<unsigned long long>(e), a, b);
  }
  return "";
}

bool refused_early(const RunOutcome& found, Verdict& verdict) {
  if (found.status == RT_OK) return false;
  verdict.refusal = found.stage + ": " + found.text;
  const auto complain = [&](const std::string& what) { verdict.complaints.push_back(what); };
  if (found.stage != "supports" && found.stage != "require" && found.stage != "kv_forms") {
    complain("refuses only at " + verdict.refusal);
  }
  if (found.status != RT_UNSUPPORTED && found.status != RT_INVALID) {
    complain("refuses with status " + std::to_string(found.status));
  }
  if (found.stage != "kv_forms" && found.text.empty()) complain("refuses without a reason");
  return true;
}

}  // namespace

Verdict judge(const Contract& contract, const rt_implementation& implementation,
              const Problem& problem, rt_step_class step_class, bool threads, rt_dtype value_dtype,
              Accelerator* accelerator) {
  const rt_schema& schema = *contract.schema;
  const bool exact = (implementation.traits & RT_TRAIT_EXACT) != 0;
  const bool cpu = std::string_view(implementation.device_kind) == "cpu";
  const double tolerance = tolerance_of(implementation, problem);
  const auto run_with = [&](const rt_implementation& which, const Problem& what,
                            std::uint32_t workers, Split split) {
    return run(schema, which, what,
               {workers, split, step_class, exact && value_dtype == RT_F32, value_dtype,
                &which == &implementation ? accelerator : nullptr});
  };
  Verdict verdict;
  const auto complain = [&](const std::string& when, const std::string& what) {
    if (!what.empty()) verdict.complaints.push_back(when + ": " + what);
  };

  const RunOutcome expected = run_with(*contract.reference, problem, 1, Split::kWhole);
  if (expected.status != RT_OK) {
    complain("the reference refuses at " + expected.stage, expected.text);
    return verdict;
  }
  const RunOutcome found = run_with(implementation, problem, 1, Split::kWhole);
  if (refused_early(found, verdict)) return verdict;
  verdict.served = true;

  const double stored = rounding_of(value_dtype, contract.fused);
  const double rounding = tolerance * largest(expected) + stored;
  complain("against the reference",
           difference(found, expected, schema.tolerance_absolute + rounding,
                      schema.tolerance_relative + tolerance + stored));
  complain("KV cache", cache_difference(contract, problem, found, expected,
                                        schema.tolerance_absolute + rounding,
                                        schema.tolerance_relative + tolerance + stored));
  for (const std::string& mistake : found.mistakes) complain("memory", mistake);

  for (const std::uint32_t workers : {2u, 3u}) {
    if (!cpu) break;  // a GPU splits as it likes
    complain(std::to_string(workers) + " workers, ranges shuffled",
             any_difference(run_with(implementation, problem, workers, Split::kShuffled), found));
  }
  if (threads && cpu) {
    complain("3 threads",
             any_difference(run_with(implementation, problem, 3, Split::kPool), found));
  }
  for (std::size_t b = 0; problem.sequences.size() > 1 && b < problem.sequences.size(); ++b) {
    const RunOutcome alone = run_with(implementation, only_sequence(problem, b), 1, Split::kWhole);
    const RunOutcome beside = part_of(problem, found, b);
    complain("sequence " + std::to_string(b) + " alone and in the batch",
             (implementation.traits & RT_TRAIT_BITS_OF_BATCH) == 0
                 ? any_difference(alone, beside)
                 : difference(alone, beside, schema.tolerance_absolute + rounding,
                              schema.tolerance_relative + tolerance + stored));
  }
  return verdict;
}

}  // namespace rt::conformance
