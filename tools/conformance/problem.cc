#include "tools/conformance/problem.h"

namespace rt::conformance {
namespace {

std::int64_t row_count(const Sequence& sequence) {
  return sequence.rows.empty() ? 1 : static_cast<std::int64_t>(sequence.rows.size());
}

template <class T>
void keep(std::vector<T>& values, std::int64_t first, std::int64_t count, std::int64_t width) {
  if (values.empty()) return;
  values = std::vector<T>(values.begin() + first * width, values.begin() + (first + count) * width);
}

}  // namespace

std::int64_t Problem::tokens() const {
  std::int64_t count = 0;
  for (const Sequence& sequence : sequences) count += sequence.tokens;
  return count;
}

std::int64_t Problem::rows() const {
  std::int64_t count = 0;
  for (const Sequence& sequence : sequences) count += row_count(sequence);
  return count;
}

Problem only_sequence(const Problem& problem, std::size_t b) {
  Problem alone = problem;
  std::int64_t first_token = 0;
  std::int64_t first_row = 0;
  for (std::size_t i = 0; i < b; ++i) {
    first_token += problem.sequences[i].tokens;
    first_row += row_count(problem.sequences[i]);
  }
  const Sequence& sequence = problem.sequences[b];
  alone.sequences = {sequence};
  for (Input& input : alone.inputs) {
    const std::int64_t width = input.shape.size() == 2 ? input.shape[1] : 1;
    if (input.shape[0] == RT_DIM_TOKENS) keep(input.values, first_token, sequence.tokens, width);
    if (input.shape[0] == RT_DIM_ROWS) keep(input.values, first_row, row_count(sequence), width);
  }
  keep(alone.token_ids, first_token, sequence.tokens, 1);
  keep(alone.sampling, first_row, row_count(sequence), 1);
  return alone;
}

}  // namespace rt::conformance
