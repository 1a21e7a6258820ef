// Strings by id and ids by string. Looked up for every character of text, so the table is flat,
// with linear probing and at most half full.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace rt {

class Pieces {
 public:
  Pieces() : Pieces({}, {}) {}

  // `by_id[i]` counts only where `used[i]`. Of equal strings the first is found.
  Pieces(std::vector<std::string> by_id, const std::vector<bool>& used) : by_id_(std::move(by_id)) {
    std::size_t slots = 16;
    while (slots < 2 * by_id_.size()) slots *= 2;
    slots_.resize(slots);
    for (std::size_t i = 0; i < by_id_.size(); ++i) {
      const std::uint32_t hash = hash_of(by_id_[i]);
      Slot& slot = slots_[place(by_id_[i], hash)];
      if (used[i] && slot.id < 0) slot = {hash, static_cast<std::int32_t>(i)};
    }
  }

  // -1: none.
  std::int32_t find(std::string_view text) const { return slots_[place(text, hash_of(text))].id; }

  std::size_t size() const { return by_id_.size(); }
  const std::vector<std::string>& by_id() const { return by_id_; }
  const std::string& operator[](std::int32_t id) const {
    return by_id_[static_cast<std::size_t>(id)];
  }

 private:
  struct Slot {
    std::uint32_t hash = 0;
    std::int32_t id = -1;  // -1: free
  };

  static std::uint32_t hash_of(std::string_view text) {
    const std::size_t hash = std::hash<std::string_view>()(text);
    return static_cast<std::uint32_t>(hash ^ hash >> 32);
  }

  // Where `text` stands, or the free slot where it would.
  std::size_t place(std::string_view text, std::uint32_t hash) const {
    const std::size_t mask = slots_.size() - 1;
    std::size_t at = hash & mask;
    while (slots_[at].id >= 0 && (slots_[at].hash != hash || (*this)[slots_[at].id] != text)) {
      at = (at + 1) & mask;
    }
    return at;
  }

  std::vector<std::string> by_id_;
  std::vector<Slot> slots_;
};

}  // namespace rt
