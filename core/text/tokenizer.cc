#include "core/text/tokenizer.h"

#include <algorithm>
#include <filesystem>
#include <new>
#include <stdexcept>
#include <utility>

#include "core/base/assert.h"
#include "core/base/bytes.h"
#include "core/base/utf8.h"
#include "core/text/decoder.h"
#include "core/text/sentencepiece.h"
#include "core/text/tokenizer_json.h"

namespace rt {
namespace {

Error out_of_memory(const std::string& what) {
  return environment(what + ": out of memory");
}

bool is_there(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

Result<std::unique_ptr<Tokenizer>> load_any(const std::string& path) {
  const std::filesystem::path given(path);
  std::error_code ignored;
  if (std::filesystem::is_directory(given, ignored)) {
    const std::filesystem::path json = given / "tokenizer.json";
    if (is_there(json)) return load_tokenizer_json(json.string());
    const std::filesystem::path pieces = given / "tokenizer.model";
    if (is_there(pieces)) return load_sentencepiece(pieces.string());
    return bad_input(path +
                     ": expected tokenizer.json or tokenizer.model, found neither; copy one "
                     "of them from where the checkpoint was published");
  }
  if (given.extension() == ".json") return load_tokenizer_json(path);
  if (given.extension() == ".model") return load_sentencepiece(path);
  return bad_input(path + ": expected a folder, a .json or a .model file");
}

}  // namespace

Tokenizer::~Tokenizer() = default;

Result<std::unique_ptr<Tokenizer>> Tokenizer::load(const std::string& path) {
  try {
    return load_any(path);
  } catch (const std::bad_alloc&) {
    return out_of_memory(path);
  } catch (const std::length_error&) {
    return out_of_memory(path);
  }
}

Result<std::vector<std::int32_t>> Tokenizer::encode(std::string_view text,
                                                    EncodeOptions options) const {
  const TextSegment whole{std::string(text), options.parse_special};
  return encode(std::span(&whole, 1), options);
}

Result<std::vector<std::int32_t>> Tokenizer::encode(std::span<const TextSegment> segments,
                                                    EncodeOptions options) const {
  try {
    std::string text;
    std::vector<Stretch> stretches;
    for (const TextSegment& segment : segments) {
      if (segment.text.size() >
          kMaxTextBytes - std::min<std::uint64_t>(text.size(), kMaxTextBytes)) {
        return bad_input("text: expected at most " + format_bytes(kMaxTextBytes));
      }
      text += utf8_valid(segment.text) ? segment.text : utf8_replace_invalid(segment.text);
      stretches.push_back({text.size(), segment.control});
    }
    std::vector<std::int32_t> ids;
    RT_RETURN_IF_ERROR(encode_text(text, stretches, options.continuation, ids));
    if (options.add_special) add_special(ids, options.continuation);
    return ids;
  } catch (const std::bad_alloc&) {
    return out_of_memory("text");
  }
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids, bool skip_special) const {
  Detokenizer detokenizer(*this, skip_special);
  std::string text;
  for (const std::int32_t id : ids) text += detokenizer.push(id);
  return text + detokenizer.flush();
}

std::optional<std::int32_t> Tokenizer::token_id(std::string_view token) const {
  const std::int32_t id = tokens_.find(token);
  return id < 0 ? std::nullopt : std::optional(id);
}

bool Tokenizer::is_special(std::int32_t id) const {
  return std::binary_search(special_ids_.begin(), special_ids_.end(), id);
}

Detokenizer::Detokenizer(const Tokenizer& tokenizer, bool skip_special)
    : tokenizer_(&tokenizer),
      skip_special_(skip_special),
      stream_(std::make_unique<DecodeStream>(tokenizer.decode_stream())) {}

Detokenizer::Detokenizer(Detokenizer&&) noexcept = default;
Detokenizer& Detokenizer::operator=(Detokenizer&&) noexcept = default;
Detokenizer::~Detokenizer() = default;

void Detokenizer::prime(std::span<const std::int32_t> ids) {
  for (const std::int32_t id : ids) push(id);
  owed_.clear();
  DecodeStream copy = *stream_;
  copy.flush(owed_);
}

std::string Detokenizer::push(std::int32_t id) {
  if (!tokenizer_->contains(id) || (skip_special_ && tokenizer_->is_special(id))) return "";
  std::string text;
  stream_->push(tokenizer_->token(id), text);
  return without_owed(std::move(text));
}

std::string Detokenizer::flush() {
  std::string text;
  stream_->flush(text);
  return without_owed(std::move(text));
}

std::string Detokenizer::without_owed(std::string text) {
  // Bytes that the stream held when the primed ids ended come out first. They may have become a
  // different text meanwhile (a character that was completed); that text is new and is kept.
  if (owed_.empty() || text.empty()) return text;
  const std::size_t same = std::min(owed_.size(), text.size());
  if (text.compare(0, same, owed_, 0, same) == 0) {
    text.erase(0, same);
    owed_.erase(0, same);
  } else {
    owed_.clear();
  }
  return text;
}

}  // namespace rt
