#include "core/text/piece_model.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "core/base/utf8.h"

namespace rt {

PieceModel::PieceModel(Pieces pieces, const std::vector<float>& scores, const Pieces& all,
                       bool byte_fallback, std::int32_t unknown)
    : pieces_(std::move(pieces)),
      ranks_(scores.size()),
      byte_fallback_(byte_fallback),
      bytes_(all),
      unknown_(unknown) {
  std::vector<std::int32_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  const auto score = [&](std::int32_t id) { return scores[static_cast<std::size_t>(id)]; };
  std::sort(order.begin(), order.end(),
            [&](std::int32_t a, std::int32_t b) { return score(a) > score(b); });
  std::int32_t rank = 0;
  for (std::size_t i = 0; i < order.size(); ++i) {
    if (i > 0 && score(order[i]) != score(order[i - 1])) ++rank;
    ranks_[static_cast<std::size_t>(order[i])] = rank;
  }
  for (const std::string& piece : pieces_.by_id()) {
    longest_ = std::max(longest_, piece.size());
    inner_pairs_.add(piece);
  }
  inner_pairs_.finish();
}

bool PieceModel::may_cut(std::string_view stretch, const Symbol& left, const Symbol& right) const {
  // Without byte fallback neighbouring unknown characters make one token: they stay together.
  if (!byte_fallback_ && (left.id < 0 || right.id < 0)) return false;
  return !inner_pairs_.contains(utf8_head(stretch.substr(left.begin)).code_point,
                                utf8_head(stretch.substr(right.begin)).code_point);
}

void PieceModel::put(std::string_view text, std::int32_t id, bool& after_unknown,
                     std::vector<std::int32_t>& ids) const {
  if (id >= 0) {
    ids.push_back(id);
  } else if (byte_fallback_) {
    for (const char byte : text) ids.push_back(bytes_[byte]);
  } else if (!after_unknown) {
    ids.push_back(unknown_);
  }
  after_unknown = id < 0 && !byte_fallback_;
}

void PieceModel::tokenize(std::string_view stretch, MergeScratch& scratch,
                          std::vector<std::int32_t>& ids) const {
  std::vector<Symbol>& symbols = scratch.symbols;
  symbols.clear();
  for (std::size_t at = 0; at < stretch.size();) {
    const std::size_t length = utf8_length(stretch.substr(at));
    symbols.push_back({pieces_.find(stretch.substr(at, length)), static_cast<std::uint32_t>(at),
                       static_cast<std::uint32_t>(length), -1, -1});
    at += length;
  }
  const auto look_up = [&](const Symbol& left, const Symbol& right) -> Merge {
    const std::size_t length = left.length + right.length;
    if (length > longest_) return {};
    const std::int32_t id = pieces_.find(stretch.substr(left.begin, length));
    return id < 0 ? Merge{} : Merge{ranks_[static_cast<std::size_t>(id)], id};
  };
  bool after_unknown = false;
  std::size_t first = 0;
  for (std::size_t i = 1; i <= symbols.size(); ++i) {
    if (i < symbols.size() && !may_cut(stretch, symbols[i - 1], symbols[i])) continue;
    scratch.merger.run(symbols, first, i, look_up);
    first = i;
  }
  for (const Symbol& symbol : symbols) {
    if (symbol.length == 0) continue;
    put(stretch.substr(symbol.begin, symbol.length), symbol.id, after_unknown, ids);
  }
}

}  // namespace rt
