#include "core/text/sentencepiece.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>
#include <vector>

#include "core/base/file.h"
#include "core/base/text.h"
#include "core/base/utf8.h"
#include "core/text/json_object.h"
#include "core/text/piece_model.h"
#include "core/text/pipeline.h"
#include "core/text/protobuf.h"
#include "core/text/tokenizer_json.h"

namespace rt {
namespace {

// Field numbers and defaults are those of sentencepiece_model.proto.
enum class PieceType : std::uint64_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6,
};

struct Piece {
  std::string text;
  float score = 0;
  PieceType type = PieceType::kNormal;
};

struct ModelFile {
  std::vector<Piece> pieces;
  std::uint64_t model_type = 1;
  bool byte_fallback = false;
  bool space_as_suffix = false;
  std::int32_t bos_id = 1;  // negative: none
  std::int32_t eos_id = 2;
  Normalizer::SentencePieceRules rules;
  bool has_charsmap = false;
  std::string normalizer_name;
};

constexpr std::uint64_t kBpe = 2;

Result<Piece> read_piece(ProtobufReader reader) {
  Piece piece;
  while (!reader.done()) {
    RT_TRY(const ProtobufField field, reader.next());
    if (field.number == 1) {
      RT_TRY(piece.text, reader.bytes(field));
    } else if (field.number == 2) {
      RT_TRY(piece.score, reader.float32(field));
      if (!std::isfinite(piece.score)) return reader.error(field.offset, "the score is not finite");
    } else if (field.number == 3) {
      RT_TRY(const std::uint64_t type, reader.varint(field));
      if (type < 1 || type > 6) {
        return reader.error(field.offset, "unsupported piece type " + std::to_string(type));
      }
      piece.type = static_cast<PieceType>(type);
    }
  }
  return piece;
}

Status read_trainer(ProtobufReader reader, ModelFile& file) {
  while (!reader.done()) {
    RT_TRY(const ProtobufField field, reader.next());
    switch (field.number) {
      case 3: {
        RT_TRY(file.model_type, reader.varint(field));
        break;
      }
      case 24: {
        RT_TRY(const std::uint64_t value, reader.varint(field));
        file.space_as_suffix = value != 0;
        break;
      }
      case 35: {
        RT_TRY(const std::uint64_t value, reader.varint(field));
        file.byte_fallback = value != 0;
        break;
      }
      case 41:
      case 42: {
        RT_TRY(const std::uint64_t value, reader.varint(field));
        (field.number == 41 ? file.bos_id : file.eos_id) = static_cast<std::int32_t>(value);
        break;
      }
      default:
        break;
    }
  }
  return {};
}

Status read_normalizer(ProtobufReader reader, ModelFile& file) {
  while (!reader.done()) {
    RT_TRY(const ProtobufField field, reader.next());
    if (field.number == 1) {
      RT_TRY(file.normalizer_name, reader.bytes(field));
    } else if (field.number == 2) {
      RT_TRY(const std::string_view map, reader.bytes(field));
      file.has_charsmap = !map.empty();
    } else if (field.number >= 3 && field.number <= 5) {
      RT_TRY(const std::uint64_t value, reader.varint(field));
      (field.number == 3   ? file.rules.add_dummy_prefix
       : field.number == 4 ? file.rules.remove_extra_whitespaces
                           : file.rules.escape_whitespaces) = value != 0;
    }
  }
  return {};
}

Result<ModelFile> read_model(std::string_view bytes, const std::string& path) {
  ModelFile file;
  ProtobufReader reader(bytes, 0, path);
  while (!reader.done()) {
    RT_TRY(const ProtobufField field, reader.next());
    if (field.number > 3) continue;  // self tests, denormalizer
    RT_TRY(ProtobufReader message, reader.message(field));
    if (field.number == 1) {
      RT_TRY(Piece piece, read_piece(std::move(message)));
      const std::size_t index = file.pieces.size();
      if (piece.text.empty() || !utf8_valid(piece.text) ||
          piece.text.size() > PieceModel::kMaxPieceBytes) {
        return reader.error(field.offset, "piece " + std::to_string(index) + ": expected 1 to " +
                                              std::to_string(PieceModel::kMaxPieceBytes) +
                                              " bytes of UTF-8, found " + quote(piece.text));
      }
      if (static_cast<std::int64_t>(index) > kMaxTokenId) {
        return reader.error(field.offset, "more than " + std::to_string(kMaxTokenId) + " pieces");
      }
      file.pieces.push_back(std::move(piece));
    } else if (field.number == 2) {
      RT_RETURN_IF_ERROR(read_trainer(std::move(message), file));
    } else {
      RT_RETURN_IF_ERROR(read_normalizer(std::move(message), file));
    }
  }
  return file;
}

Status check(const ModelFile& file, const std::string& path) {
  if (file.pieces.empty()) return bad_input(path + ": expected pieces, found none");
  if (file.model_type != kBpe) {
    constexpr const char* kNames[] = {"0", "Unigram", "BPE", "Word", "Char"};
    return unsupported(path + ": model type",
                       file.model_type <= 4 ? kNames[file.model_type] : "unknown", "BPE");
  }
  if (file.has_charsmap) {
    return unsupported(path + ": normalizer", file.normalizer_name, "identity");
  }
  if (file.space_as_suffix) {
    return unsupported(path + ": option", "treat_whitespace_as_suffix", "off");
  }
  const auto count = static_cast<std::int32_t>(file.pieces.size());
  if (file.bos_id >= count || file.eos_id >= count) {
    return bad_input(path + ": BOS is " + std::to_string(file.bos_id) + " and EOS " +
                     std::to_string(file.eos_id) + ", but there are only " + std::to_string(count) +
                     " pieces");
  }
  return {};
}

// Checks what only the whole list shows; gives the unknown piece's id.
Result<std::int32_t> check_pieces(const ModelFile& file, const Pieces& all,
                                  const std::string& path) {
  std::int32_t unknown = -1;
  int byte_count = 0;
  for (std::size_t i = 0; i < file.pieces.size(); ++i) {
    const Piece& piece = file.pieces[i];
    const auto name = [&] {
      return path + ": piece " + std::to_string(i) + " " + quote(piece.text);
    };
    if (all.find(piece.text) != static_cast<std::int32_t>(i)) {
      return bad_input(name() + ": stands twice, first as piece " +
                       std::to_string(all.find(piece.text)));
    }
    if (piece.type == PieceType::kUnused) return bad_input(name() + ": unsupported type UNUSED");
    if (piece.type == PieceType::kByte) ++byte_count;
    if (piece.type != PieceType::kUnknown) continue;
    if (unknown >= 0) return bad_input(name() + ": a second unknown piece");
    unknown = static_cast<std::int32_t>(i);
  }
  if (unknown < 0) return bad_input(path + ": expected a piece of type UNKNOWN, found none");
  if (file.byte_fallback && (byte_count != 256 || !ByteTokens(all).complete())) {
    return bad_input(path + ": byte fallback needs the 256 pieces <0x00> to <0xFF>, found " +
                     std::to_string(byte_count));
  }
  return unknown;
}

AddedToken added_from_piece(const Piece& piece, std::size_t id) {
  AddedToken token;
  token.content = piece.text;
  token.id = static_cast<std::int32_t>(id);
  token.special = piece.type != PieceType::kUserDefined;
  token.control = token.special || names_control(piece.text);
  token.pattern = piece.text;
  // Pieces that users' text may hold are spelled as the normalizer leaves text ("▁▁").
  token.normalized = !token.control;
  return token;
}

// tokenizer_config.json may add tokens after the pieces and call pieces special.
Status merge_config(const TokenizerConfig& config, PipelineParts& parts, const std::string& path) {
  const std::size_t file_count = parts.tokens.size();
  std::vector<AddedToken> added = config.added;
  std::sort(added.begin(), added.end(),
            [](const AddedToken& a, const AddedToken& b) { return a.id < b.id; });
  for (AddedToken& token : added) {
    const auto index = static_cast<std::size_t>(token.id);
    const std::string name = path + ": tokenizer_config.json: added token " +
                             std::to_string(token.id) + " " + quote(token.content);
    if (index < parts.tokens.size()) {
      if (parts.tokens[index] != token.content) {
        return bad_input(name + ": the model file calls that id " + quote(parts.tokens[index]));
      }
      std::erase_if(parts.added, [&](const AddedToken& old) { return old.id == token.id; });
    } else if (index == parts.tokens.size()) {
      parts.tokens.push_back(token.content);
    } else {
      return bad_input(name + " leaves a gap in the ids");
    }
    token.pattern = token.content;
    token.normalized = index < file_count && !token.control;
    parts.added.push_back(std::move(token));
  }
  return {};
}

Result<std::unique_ptr<Tokenizer>> build(const ModelFile& file, const std::string& path) {
  RT_RETURN_IF_ERROR(check(file, path));
  PipelineParts parts;
  std::vector<float> scores;
  std::vector<std::string> normal;
  std::vector<bool> is_normal;
  for (std::size_t i = 0; i < file.pieces.size(); ++i) {
    const Piece& piece = file.pieces[i];
    const bool merges = piece.type == PieceType::kNormal;
    parts.tokens.push_back(piece.text);
    scores.push_back(piece.score);
    normal.push_back(merges ? piece.text : "");
    is_normal.push_back(merges);
    if (!merges && piece.type != PieceType::kByte)
      parts.added.push_back(added_from_piece(piece, i));
  }
  const Pieces all(parts.tokens, std::vector<bool>(parts.tokens.size(), true));
  RT_TRY(const std::int32_t unknown, check_pieces(file, all, path));
  parts.model = std::make_unique<PieceModel>(Pieces(std::move(normal), is_normal), scores, all,
                                             file.byte_fallback, unknown);
  RT_TRY(parts.normalizer, Normalizer::sentencepiece(file.rules));
  RT_TRY(parts.decoder, Decoder::sentencepiece(file.rules.add_dummy_prefix));
  RT_TRY(const TokenizerConfig config, read_tokenizer_config(path));
  RT_RETURN_IF_ERROR(merge_config(config, parts, path));
  if (file.bos_id >= 0) parts.bos_id = file.bos_id;
  if (file.eos_id >= 0) parts.eos_id = file.eos_id;
  if (parts.bos_id && config.add_bos_token.value_or(true)) parts.before = {*parts.bos_id};
  if (parts.eos_id && config.add_eos_token.value_or(false)) parts.after = {*parts.eos_id};
  return Pipeline::create(std::move(parts));
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> load_sentencepiece(const std::string& path) {
  RT_TRY(const std::string bytes, read_file(path, kMaxSentencePieceBytes));
  RT_TRY(const ModelFile file, read_model(bytes, path));
  return build(file, path);
}

}  // namespace rt
