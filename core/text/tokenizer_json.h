// Loader of Hugging Face's tokenizer.json (model type BPE).
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/base/result.h"
#include "core/text/added_tokens.h"
#include "core/text/tokenizer.h"

namespace rt {

inline constexpr std::uint64_t kMaxTokenizerJsonBytes = 128ull << 20;

// `path` is the file; tokenizer_config.json beside it, where present, names BOS and EOS.
Result<std::unique_ptr<Tokenizer>> load_tokenizer_json(const std::string& path);

// What tokenizer_config.json says that tokenizer.json or tokenizer.model does not.
struct TokenizerConfig {
  std::optional<std::string> bos_token;
  std::optional<std::string> eos_token;
  std::optional<bool> add_bos_token;
  std::optional<bool> add_eos_token;
  std::vector<AddedToken> added;  // added_tokens_decoder
};
// Reads it from the folder of `tokenizer_path`; empty where there is no such file.
Result<TokenizerConfig> read_tokenizer_config(const std::string& tokenizer_path);

}  // namespace rt
