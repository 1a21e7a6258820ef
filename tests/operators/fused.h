// Fused operators as these tests run them: the schema that follows from the pattern, its shapes
// inferred part by part, and the reference that follows from it, the parts' references one after
// the other.
#pragma once

#include <string_view>

#include "core/sdk/operator.h"

namespace rt::test {

// Of any of the plugin files, or NULL.
const rt_schema* find_fused_schema(std::string_view op);
const rt_implementation* find_fused_reference(std::string_view op);

}  // namespace rt::test
