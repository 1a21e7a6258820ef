#include "core/text/pipeline.h"

#include <algorithm>
#include <utility>

#include "core/base/bytes.h"

namespace rt {

struct Pipeline::Chunk {
  std::string_view text;
  std::size_t offset;                  // of the chunk in the whole text
  std::span<const Stretch> stretches;  // of the whole text
  bool at_start;                       // nothing comes before the chunk
};

namespace {

// True if [begin, end) lies within one control stretch.
bool in_control(std::span<const auto> stretches, std::size_t begin, std::size_t end) {
  const auto holds = std::upper_bound(
      stretches.begin(), stretches.end(), begin,
      [](std::size_t offset, const auto& stretch) { return offset < stretch.end; });
  return holds != stretches.end() && holds->control && end <= holds->end;
}

}  // namespace

Pipeline::Pipeline(PipelineParts parts) : parts_(std::move(parts)) {}

Result<std::unique_ptr<Tokenizer>> Pipeline::create(PipelineParts parts) {
  std::unique_ptr<Pipeline> pipeline(new Pipeline(std::move(parts)));
  PipelineParts& mine = pipeline->parts_;
  const std::vector<bool> every(mine.tokens.size(), true);
  pipeline->tokens_ = Pieces(std::move(mine.tokens), every);
  pipeline->bos_id_ = mine.bos_id;
  pipeline->eos_id_ = mine.eos_id;
  pipeline->is_added_.assign(pipeline->tokens_.size(), false);
  std::vector<AddedToken> raw;
  std::vector<AddedToken> normalized;
  for (AddedToken& token : std::exchange(mine.added, {})) {
    pipeline->is_added_[static_cast<std::size_t>(token.id)] = true;
    if (token.special) pipeline->special_ids_.push_back(token.id);
    if (token.pattern.empty()) continue;  // nothing that text could match
    (token.normalized ? normalized : raw).push_back(std::move(token));
  }
  std::sort(pipeline->special_ids_.begin(), pipeline->special_ids_.end());
  RT_TRY(pipeline->raw_, AddedTokens::create(std::move(raw)));
  RT_TRY(pipeline->normalized_, AddedTokens::create(std::move(normalized)));
  return std::unique_ptr<Tokenizer>(std::move(pipeline));
}

std::string Pipeline::piece_bytes(std::int32_t id) const {
  if (is_added_[static_cast<std::size_t>(id)]) return token(id);
  return parts_.decoder.piece_bytes(token(id));
}

Status Pipeline::encode_text(std::string_view text, std::span<const Stretch> stretches,
                             bool continuation, std::vector<std::int32_t>& ids) const {
  MergeScratch scratch;
  const auto allow = [&](std::size_t begin, std::size_t end) {
    return in_control(stretches, begin, end);
  };
  return raw_.split(text, allow, [&](std::size_t begin, std::size_t end, const AddedToken* token) {
    if (token != nullptr) {
      ids.push_back(token->id);
      return Status();
    }
    const Chunk chunk{text.substr(begin, end - begin), begin, stretches,
                      begin == 0 && !continuation};
    return encode_chunk(chunk, scratch, ids);
  });
}

Status Pipeline::encode_chunk(const Chunk& chunk, MergeScratch& scratch,
                              std::vector<std::int32_t>& ids) const {
  // Where each normalized byte comes from matters only if control tokens are searched for in
  // normalized text that is not all of one kind.
  const bool any_control = std::any_of(chunk.stretches.begin(), chunk.stretches.end(),
                                       [](const Stretch& stretch) { return stretch.control; });
  const bool trace = normalized_.has_control() && any_control;
  std::vector<std::uint32_t> origin;
  RT_TRY(const std::string normalized,
         parts_.normalizer.apply(chunk.text, trace ? &origin : nullptr));
  const std::string_view text = normalized;
  const auto allow = [&](std::size_t begin, std::size_t end) {
    return trace && in_control(chunk.stretches, chunk.offset + origin[begin],
                               chunk.offset + origin[end - 1] + 1);
  };
  const auto merge = [&](std::string_view stretch) -> Status {
    if (stretch.size() > kMaxStretchBytes) {
      return bad_input("text: expected a place to split at least every " +
                       format_bytes(kMaxStretchBytes) + ", found " +
                       std::to_string(stretch.size()) + " bytes without one");
    }
    parts_.model->tokenize(stretch, scratch, ids);
    return {};
  };
  return normalized_.split(
      text, allow, [&](std::size_t begin, std::size_t end, const AddedToken* token) -> Status {
        if (token != nullptr) {
          ids.push_back(token->id);
          return {};
        }
        return parts_.pre_tokenizer.split(text.substr(begin, end - begin),
                                          chunk.at_start && begin == 0, merge);
      });
}

void Pipeline::add_special(std::vector<std::int32_t>& ids, bool continuation) const {
  if (!continuation) ids.insert(ids.begin(), parts_.before.begin(), parts_.before.end());
  ids.insert(ids.end(), parts_.after.begin(), parts_.after.end());
}

DecodeStream Pipeline::decode_stream() const {
  return parts_.decoder.stream();
}

}  // namespace rt
