// Binding a graph's `config:` to the checkpoint's config.json; private to core/graph.
#pragma once

#include <string>
#include <vector>

#include "core/base/json_fwd.h"
#include "core/graph/document.h"
#include "core/graph/graph.h"

namespace rt {

// Defines every binding in `scope` and appends it to `bound`. json null: published values.
Status bind_config(const GraphDocument& document, const Json* json, const std::string& json_path,
                   Scope& scope, std::vector<ConfigValue>& bound);

// A sentence for every key of config.json that is known to change what some model computes and that
// the graph does not read. Precondition: json is an object.
std::vector<std::string> unread_config(const GraphDocument& document, const Json& json);

}  // namespace rt
