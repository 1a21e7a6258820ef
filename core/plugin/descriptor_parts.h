// The parts of a descriptor, each checked by itself: what check_descriptor (descriptor.h) is made
// of. Refusals are sentences without the name of the part.
#pragma once

#include <cstddef>
#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <string_view>

#include "core/base/result.h"
#include "core/sdk/plugin.h"

namespace rt {

// Bytes up to and including `field`: the size a struct had when `field` was its last one. Checks
// use the last field of ABI 0.1, so that a plugin stays acceptable when structs grow.
#define RT_BYTES_THROUGH(type, field) (offsetof(type, field) + sizeof(type::field))

Status check_size(std::uint32_t found, std::size_t least, const char* what);
Status check_name(const char* name, bool (*fits)(std::string_view), const char* what);
Status check_present(bool present, const char* what);
Status check_zero(std::uint32_t reserved, const char* what);

// An array of `count` pointers to structs, none NULL, none shorter than `least`.
template <class Struct>
Result<std::span<const Struct* const>> check_list(const Struct* const* list, std::uint32_t count,
                                                  std::uint32_t limit, std::size_t least,
                                                  const char* what) {
  if (count > limit) {
    return bad_input(std::string("expected at most ") + std::to_string(limit) + " of " + what +
                     ", found " + std::to_string(count));
  }
  if (count == 0) return std::span<const Struct* const>();
  RT_RETURN_IF_ERROR(check_present(list != nullptr, what));
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::string element = std::string(what) + "[" + std::to_string(i) + "]";
    RT_RETURN_IF_ERROR(check_present(list[i] != nullptr, element.c_str()));
    RT_RETURN_IF_ERROR(check_size(list[i]->struct_size, least, element.c_str()));
  }
  return std::span<const Struct* const>(list, count);
}

template <class Struct, class Key>
Status check_unique(std::span<const Struct* const> list, Key&& key, const char* what) {
  std::set<std::string> seen;
  for (const Struct* item : list) {
    if (const std::string name = key(*item); !seen.insert(name).second) {
      return bad_input(std::string("two ") + what + " are named '" + name + "'");
    }
  }
  return {};
}

// All of a struct but its place in the plugin (struct_size, NULL) and the name it is found by.
Status check_schema(const rt_schema& schema);
Status check_fusion(const rt_fusion& fusion);
Status check_implementation(const rt_implementation& item);
Status check_planner(const rt_planner& planner);
Status check_device(const rt_device& device);

}  // namespace rt
