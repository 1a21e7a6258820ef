// A file as an accident or an enemy leaves it: a few edits at random places, the same for the same
// seed.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace rt::test {

// `bytes` with one to four edits: numbers and words replaced by extreme ones or by others of the
// file, and for every second seed also bits flipped, ranges cut, doubled or moved, something that
// opens and never closes. What is not of the format but data, from `end` on, is left alone.
std::string damaged(std::string_view bytes, std::uint64_t seed, std::size_t end = SIZE_MAX);

}  // namespace rt::test
