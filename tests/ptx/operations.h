// What runs an instruction, by the parts of its name: "add.rn.f32" is {"add", "rn", "f32"}. NULL:
// not of this file's kind, or not known.
#pragma once

#include <algorithm>
#include <string_view>
#include <vector>

#include "tests/ptx/program.h"

namespace ptx {

using Name = std::vector<std::string_view>;

inline bool has(const Name& name, std::string_view part) {
  return std::find(name.begin(), name.end(), part) != name.end();
}

Run find_arithmetic(const Name& name);  // from: a, b, c; to: d
Run find_comparison(const Name& name);  // from: a, b; predicate: written
Run find_conversion(const Name& name);  // from: a (, b); to: d
Run find_move(bool packs, bool unpacks, unsigned element_bytes);
Run find_memory(const Name& name);  // from: address (, values); to: values
// The same; `one_address`: what is loaded lies at one address for all lanes.
Run find_access(const Name& name, bool one_address);
Run find_exchange(const Name& name);            // between lanes
Run find_predicate(const Name& name);           // predicates: read; predicate: written
Run find_address_conversion(const Name& name);  // from: a; to: d
Run find_control(const Name& name);

}  // namespace ptx
