// Loader of SentencePiece's tokenizer.model (model type BPE).
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "core/base/result.h"
#include "core/text/tokenizer.h"

namespace rt {

inline constexpr std::uint64_t kMaxSentencePieceBytes = 64ull << 20;

// `path` is the file; tokenizer_config.json beside it, where present, adds tokens and says whether
// BOS and EOS are put around a text (otherwise: BOS if the model has one, no EOS).
Result<std::unique_ptr<Tokenizer>> load_sentencepiece(const std::string& path);

}  // namespace rt
