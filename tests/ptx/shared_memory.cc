#include "tests/ptx/shared_memory.h"

#include <cstring>

namespace ptx {
namespace {

constexpr const char* kCopied =
    "shared memory to which a copy (cp.async) is under way that its lane has not waited for";

}  // namespace

void SharedMemory::begin(std::uint32_t bytes) {
  std::memset(bytes_, 0xff, bytes);
  size_ = bytes;
  ++stretch_;
  ++block_;
}

// Calls f(word, whole) for each word until it returns a complaint.
template <class F>
const char* SharedMemory::for_words(const unsigned char* at, unsigned bytes, F f) {
  const auto first = static_cast<std::size_t>(at - bytes_);
  const bool whole = bytes >= 4;
  for (std::size_t w = first / 4; w <= (first + bytes - 1) / 4; ++w) {
    Word& word = words_[w];
    if (word.stretch != stretch_) {
      const std::uint64_t copied_in = word.copied_in;
      word = {};
      word.stretch = stretch_;
      word.copied_in = copied_in;
    }
    if (const char* complaint = f(word, whole); complaint != nullptr) return complaint;
  }
  return nullptr;
}

Users& SharedMemory::lanes_of(Word& word, std::uint64_t turn) {
  if (word.turn != turn) {
    word.turn = turn;
    word.lanes = {};
  }
  return word.lanes;
}

const char* SharedMemory::read(User user, const unsigned char* from, unsigned bytes) {
  return for_words(from, bytes, [=, this](Word& word, bool whole) -> const char* {
    if (word.copied_in == block_) return kCopied;
    if (!word.warps.read(1u << user.warp, whole)) {
      return "shared memory read that another warp has written since the last barrier";
    }
    if (!lanes_of(word, user.turn).read(1u << user.lane, whole)) {
      return "shared memory read that another lane has written since the warp's last barrier";
    }
    return nullptr;
  });
}

const char* SharedMemory::write(User user, const unsigned char* to, unsigned bytes) {
  return for_words(to, bytes, [=, this](Word& word, bool whole) -> const char* {
    if (word.copied_in == block_) return kCopied;
    if (!word.warps.write(1u << user.warp, whole)) {
      return "shared memory written that another warp has used since the last barrier";
    }
    if (!lanes_of(word, user.turn).write(1u << user.lane, whole)) {
      return "shared memory written that another lane has used since the warp's last barrier";
    }
    return nullptr;
  });
}

const char* SharedMemory::begin_copy(User user, const unsigned char* to, unsigned bytes) {
  if (const char* complaint = write(user, to, bytes); complaint != nullptr) return complaint;
  return for_words(to, bytes, [this](Word& word, bool) -> const char* {
    word.copied_in = block_;
    return nullptr;
  });
}

const char* SharedMemory::end_copy(User user, const unsigned char* to, unsigned bytes) {
  for_words(to, bytes, [](Word& word, bool) -> const char* {
    word.copied_in = 0;
    return nullptr;
  });
  return write(user, to, bytes);
}

}  // namespace ptx
