// A block's shared memory, and which warps have used which words of it since its last barrier: what
// one writes and another uses in the same stretch comes in any order on a GPU.
#pragma once

#include <cstdint>
#include <vector>

namespace ptx {

class SharedMemory {
 public:
  static constexpr std::uint32_t kMostBytes = 227 << 10;  // of a block on sm_90

  SharedMemory() : words_(kMostBytes / 4) {}

  // Of a new block: 0xff (NaN), used by nobody.
  void begin(std::uint32_t bytes);
  void barrier() { ++stretch_; }

  unsigned char* base() { return bytes_; }
  std::uint32_t bytes() const { return size_; }
  bool holds(const unsigned char* address) const {
    return address >= bytes_ && address < bytes_ + size_;
  }

  // What warp `warp` does to `bytes` bytes; "" or why it must not.
  const char* read(unsigned warp, const unsigned char* from, unsigned bytes);
  const char* write(unsigned warp, const unsigned char* to, unsigned bytes);
  // cp.async: from its begin until the lane has waited for it nobody may touch the words.
  const char* begin_copy(unsigned warp, const unsigned char* to, unsigned bytes);
  const char* end_copy(unsigned warp, const unsigned char* to, unsigned bytes);

 private:
  // Warps as bits. Bytes and halves of a word belong to the warps that use them apart, so only
  // whole words are held against them.
  struct Word {
    std::uint64_t stretch = 0;
    std::uint32_t readers = 0, writers = 0;
    std::uint32_t part_readers = 0, part_writers = 0;
    std::uint64_t copied_in = 0;  // the block in which a copy to it has begun, until it has ended
  };
  template <class F>
  const char* for_words(const unsigned char* at, unsigned bytes, F f);

  alignas(1024) unsigned char bytes_[kMostBytes];
  std::vector<Word> words_;
  std::uint32_t size_ = 0;
  std::uint64_t stretch_ = 0;
  std::uint64_t block_ = 0;
};

}  // namespace ptx
