#include "core/text/bpe_model.h"

#include <utility>

#include "core/base/json.h"
#include "core/base/text.h"
#include "core/base/utf8.h"
#include "core/text/byte_fallback.h"

namespace rt {
namespace {

constexpr std::size_t kMaxMerges = 1 << 24;

void append_symbol(std::vector<Symbol>& symbols, std::int32_t id, std::size_t begin,
                   std::size_t length) {
  symbols.push_back(
      {id, static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(length), -1, -1});
}

}  // namespace

Result<std::unique_ptr<BpeModel>> BpeModel::parse(const JsonObject& model, Pieces pieces,
                                                  bool whole_text) {
  RT_RETURN_IF_ERROR(
      model.only({"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
                  "fuse_unk", "byte_fallback", "ignore_merges", "vocab", "merges"}));
  for (const char* field : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    RT_TRY(const std::optional<std::string> affix, model.string_or_none(field));
    if (affix && !affix->empty()) return unsupported(model.at(field), *affix, "none");
  }
  if (const Json* dropout = model.find("dropout"); dropout != nullptr && *dropout != 0.0) {
    return unsupported(model.at("dropout"), dropout->dump(), "none");
  }
  std::unique_ptr<BpeModel> bpe(new BpeModel());
  bpe->pieces_ = std::move(pieces);
  RT_TRY(bpe->fuse_unknown_, model.boolean("fuse_unk", false));
  RT_TRY(bpe->byte_fallback_, model.boolean("byte_fallback", false));
  RT_TRY(bpe->ignore_merges_, model.boolean("ignore_merges", false));
  RT_TRY(const std::optional<std::string> unknown, model.string_or_none("unk_token"));
  if (unknown) {
    bpe->unknown_ = bpe->pieces_.find(*unknown);
    if (bpe->unknown_ < 0) {
      return bad_input(model.at("unk_token") + ": " + quote(*unknown) +
                       " is not in the vocabulary");
    }
  }
  if (bpe->byte_fallback_) bpe->bytes_ = ByteTokens(bpe->pieces_);
  RT_TRY(const Json* merges, model.require("merges"));
  bpe->knows_inner_pairs_ = whole_text;
  RT_RETURN_IF_ERROR(bpe->read_merges(*merges, model.at("merges")));
  return bpe;
}

Status BpeModel::read_merges(const Json& merges, const std::string& where) {
  if (!merges.is_array() || merges.size() > kMaxMerges) {
    return bad_input(where + ": expected an array of at most " + std::to_string(kMaxMerges) +
                     " merges, found " + json_kind(merges));
  }
  merges_ = PairTable(merges.size());
  std::size_t rank = 0;
  for (const Json& merge : merges) {
    const auto here = [&] { return where + "[" + std::to_string(rank) + "]"; };
    if (merge.is_string()) {
      const std::string_view text = merge.get_ref<const std::string&>();
      const std::size_t space = text.find(' ');
      if (space == std::string_view::npos || text.find(' ', space + 1) != std::string_view::npos) {
        return bad_input(here() + ": expected two tokens with a space between, found " +
                         quote(text));
      }
      RT_RETURN_IF_ERROR(add_merge(text.substr(0, space), text.substr(space + 1), rank, where));
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
               merge[1].is_string()) {
      RT_RETURN_IF_ERROR(add_merge(merge[0].get_ref<const std::string&>(),
                                   merge[1].get_ref<const std::string&>(), rank, where));
    } else {
      return bad_input(here() + ": expected \"a b\" or [\"a\", \"b\"], found " + json_kind(merge));
    }
    ++rank;
  }
  inner_pairs_.finish();
  return {};
}

Status BpeModel::add_merge(std::string_view left, std::string_view right, std::size_t rank,
                           const std::string& where) {
  const std::string merged = std::string(left) + std::string(right);
  const std::int32_t ids[] = {pieces_.find(left), pieces_.find(right), pieces_.find(merged)};
  const std::string_view names[] = {left, right, merged};
  for (int i = 0; i < 3; ++i) {
    if (ids[i] >= 0) continue;
    return bad_input(where + "[" + std::to_string(rank) + "]: " + quote(names[i]) +
                     " is not in the vocabulary");
  }
  // A merge of byte tokens covers characters that its text does not show.
  if (byte_of(left) || byte_of(right)) knows_inner_pairs_ = false;
  if (knows_inner_pairs_) inner_pairs_.add(merged);
  merges_.insert(static_cast<std::uint32_t>(ids[0]), static_cast<std::uint32_t>(ids[1]),
                 {static_cast<std::int64_t>(rank), ids[2]});
  return {};
}

void BpeModel::read_symbols(std::string_view stretch, std::vector<Symbol>& symbols) const {
  symbols.clear();
  std::size_t unknown_begin = 0;
  std::size_t unknown_length = 0;  // of characters that wait to become one unknown token
  const auto put_unknown = [&] {
    if (unknown_length > 0) append_symbol(symbols, unknown_, unknown_begin, unknown_length);
    unknown_length = 0;
  };
  for (std::size_t at = 0; at < stretch.size();) {
    const std::string_view character = stretch.substr(at, utf8_length(stretch.substr(at)));
    const std::int32_t id = pieces_.find(character);
    if (id >= 0) {
      put_unknown();
      append_symbol(symbols, id, at, character.size());
    } else if (byte_fallback_ && bytes_.spell(character)) {
      for (std::size_t i = 0; i < character.size(); ++i) {
        append_symbol(symbols, bytes_[character[i]], at + i, 1);
      }
    } else if (unknown_ >= 0) {
      if (!fuse_unknown_) put_unknown();
      if (unknown_length == 0) unknown_begin = at;
      unknown_length += character.size();
    }
    at += character.size();
  }
  put_unknown();
}

bool BpeModel::may_cut(std::string_view stretch, const Symbol& left, const Symbol& right) const {
  // Only between two characters that have tokens of their own; the rest stays together.
  if (left.id == unknown_ || right.id == unknown_) return false;
  const Utf8Head a = utf8_head(stretch.substr(left.begin));
  const Utf8Head b = utf8_head(stretch.substr(right.begin));
  if (!a.valid || !b.valid || a.length != left.length || b.length != right.length) return false;
  return !inner_pairs_.contains(a.code_point, b.code_point);
}

void BpeModel::tokenize(std::string_view stretch, MergeScratch& scratch,
                        std::vector<std::int32_t>& ids) const {
  if (stretch.empty()) return;
  if (ignore_merges_) {
    if (const std::int32_t id = pieces_.find(stretch); id >= 0) {
      ids.push_back(id);
      return;
    }
  }
  std::vector<Symbol>& symbols = scratch.symbols;
  read_symbols(stretch, symbols);
  const auto look_up = [this](const Symbol& left, const Symbol& right) {
    return merges_.look_up(static_cast<std::uint32_t>(left.id),
                           static_cast<std::uint32_t>(right.id));
  };
  std::size_t first = 0;
  for (std::size_t i = 1; i <= symbols.size(); ++i) {
    const bool cut =
        i == symbols.size() || (knows_inner_pairs_ && may_cut(stretch, symbols[i - 1], symbols[i]));
    if (!cut) continue;
    scratch.merger.run(symbols, first, i, look_up);
    first = i;
  }
  for (const Symbol& symbol : symbols) {
    if (symbol.length > 0) ids.push_back(symbol.id);
  }
}

}  // namespace rt
