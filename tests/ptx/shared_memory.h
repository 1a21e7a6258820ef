// A block's shared memory, and who has used which words of it: what one warp writes and another
// uses between two barriers of the block comes in any order on a GPU, and so does what one lane of
// a warp writes and another uses between two barriers of the warp. Shuffles and votes order
// nothing.
#pragma once

#include <cstdint>
#include <vector>

namespace ptx {

// Of a word: as bits, those that have used it. Bytes and halves of a word belong to who uses them
// apart, so only whole words are held against them.
struct Users {
  std::uint32_t readers = 0, writers = 0;
  std::uint32_t part_readers = 0, part_writers = 0;

  // False: another one has written it; or used it.
  bool read(std::uint32_t who, bool whole) {
    (whole ? readers : part_readers) |= who;
    return ((writers | (whole ? part_writers : 0)) & ~who) == 0;
  }
  bool write(std::uint32_t who, bool whole) {
    (whole ? writers : part_writers) |= who;
    return ((readers | writers | (whole ? part_readers | part_writers : 0)) & ~who) == 0;
  }
};

class SharedMemory {
 public:
  static constexpr std::uint32_t kMostBytes = 227 << 10;  // of a block on sm_90

  struct User {
    unsigned warp;
    unsigned lane;
    std::uint64_t turn;  // of the warp: from new_turn(), another one behind each of its barriers
  };

  SharedMemory() : words_(kMostBytes / 4) {}

  // Of a new block: 0xff (NaN), used by nobody.
  void begin(std::uint32_t bytes);
  void barrier() { ++stretch_; }
  std::uint64_t new_turn() { return ++turn_; }

  unsigned char* base() { return bytes_; }
  std::uint32_t bytes() const { return size_; }
  bool holds(const unsigned char* address) const {
    return address >= bytes_ && address < bytes_ + size_;
  }

  // What a lane does to `bytes` bytes; NULL or why it must not.
  const char* read(User user, const unsigned char* from, unsigned bytes);
  const char* write(User user, const unsigned char* to, unsigned bytes);
  // cp.async: from its begin until the lane has waited for it nobody may touch the words.
  const char* begin_copy(User user, const unsigned char* to, unsigned bytes);
  const char* end_copy(User user, const unsigned char* to, unsigned bytes);

 private:
  struct Word {
    std::uint64_t stretch = 0;
    Users warps;  // in this stretch
    std::uint64_t turn = 0;
    Users lanes;                  // in this turn; of another warp's before it `warps` knows
    std::uint64_t copied_in = 0;  // the block in which a copy to it has begun, until it has ended
  };
  template <class F>
  const char* for_words(const unsigned char* at, unsigned bytes, F f);
  static Users& lanes_of(Word& word, std::uint64_t turn);

  alignas(1024) unsigned char bytes_[kMostBytes];
  std::vector<Word> words_;
  std::uint32_t size_ = 0;
  std::uint64_t stretch_ = 0;
  std::uint64_t turn_ = 0;
  std::uint64_t block_ = 0;
};

}  // namespace ptx
