// The name of a JSON value, for headers that only mention one: json.h takes two seconds to compile.
#pragma once

#include <nlohmann/json_fwd.hpp>

namespace rt {

using Json = nlohmann::json;

}  // namespace rt
