// The heart of byte-pair encoding: merge the best adjacent pair until none is left.
//
// A linked list over an array and a heap of candidates: O(n log n) for any text, also for a
// megabyte of one character. A candidate names its place and the bytes it would cover; it is stale,
// and skipped, once the symbols standing there no longer cover exactly those bytes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace rt {

struct Symbol {
  std::int32_t id = -1;      // -1: a character without a token
  std::uint32_t begin = 0;   // byte offset in the stretch
  std::uint32_t length = 0;  // bytes; 0: merged into its left neighbour
  std::int32_t previous = -1;
  std::int32_t next = -1;
};

// What merging a pair gives. rank orders the merges (lowest first); rank < 0: no merge.
struct Merge {
  std::int64_t rank = -1;
  std::int32_t id = -1;
};

class Merger {
 public:
  // Merges symbols[first, last) in place. `look_up(left, right)` gives the pair's Merge. Afterwards
  // symbols of length 0 are gone; the others keep their order. Of equal ranks the leftmost is
  // first.
  template <class LookUp>
  void run(std::vector<Symbol>& symbols, std::size_t first, std::size_t last,
           const LookUp& look_up) {
    if (last - first < 2) return;
    heap_.clear();
    for (std::size_t i = first; i < last; ++i) {
      symbols[i].previous = i == first ? -1 : static_cast<std::int32_t>(i) - 1;
      symbols[i].next = i + 1 == last ? -1 : static_cast<std::int32_t>(i) + 1;
      if (i + 1 < last) append(symbols, i, i + 1, look_up);
    }
    std::make_heap(heap_.begin(), heap_.end());
    while (!heap_.empty()) {
      std::pop_heap(heap_.begin(), heap_.end());
      const Candidate best = heap_.back();
      heap_.pop_back();
      apply(symbols, best, look_up);
    }
  }

 private:
  struct Candidate {
    std::uint32_t rank;
    std::uint32_t place;
    std::uint32_t length;
    std::int32_t id;
    // std::*_heap keep the largest on top; the best has the lowest rank, then the lowest place.
    bool operator<(const Candidate& other) const {
      return rank != other.rank ? rank > other.rank : place > other.place;
    }
  };

  template <class LookUp>
  bool append(const std::vector<Symbol>& symbols, std::size_t left, std::size_t right,
              const LookUp& look_up) {
    const Merge merge = look_up(symbols[left], symbols[right]);
    if (merge.rank < 0) return false;
    heap_.push_back({static_cast<std::uint32_t>(merge.rank), static_cast<std::uint32_t>(left),
                     symbols[left].length + symbols[right].length, merge.id});
    return true;
  }

  template <class LookUp>
  void apply(std::vector<Symbol>& symbols, const Candidate& best, const LookUp& look_up) {
    Symbol& left = symbols[best.place];
    if (left.length == 0 || left.next < 0) return;
    const auto right_place = static_cast<std::size_t>(left.next);
    Symbol& right = symbols[right_place];
    if (left.length + right.length != best.length) return;
    left.id = best.id;
    left.length = best.length;
    left.next = right.next;
    right.length = 0;
    if (left.next >= 0) {
      const auto next = static_cast<std::size_t>(left.next);
      symbols[next].previous = static_cast<std::int32_t>(best.place);
      if (append(symbols, best.place, next, look_up)) std::push_heap(heap_.begin(), heap_.end());
    }
    if (left.previous >= 0) {
      const auto previous = static_cast<std::size_t>(left.previous);
      if (append(symbols, previous, best.place, look_up)) {
        std::push_heap(heap_.begin(), heap_.end());
      }
    }
  }

  std::vector<Candidate> heap_;
};

}  // namespace rt
