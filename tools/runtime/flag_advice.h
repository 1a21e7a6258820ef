// What is said of a flag that is not one here: what does the same, for flags of llama.cpp, ollama
// and transformers, or the flag that was meant.
#pragma once

#include <span>
#include <string>

namespace rt {

// "; --kv-dtype is of keys and values alike"; "" if no other program has such a flag.
std::string foreign_advice(const std::string& name);

// "; did you mean '--temp'?" if one of `flags` is a slip of the finger away, or begins so.
std::string near_flag(const std::string& name, std::span<const std::string> flags);

}  // namespace rt
