// Where each weight's bytes will be: mapped in the checkpoint's file, or owned, as they are or
// packed.
#pragma once

#include "core/base/result.h"

namespace rt {

struct Blueprint;

// Fills blueprint.weights and its sums, for the implementations chosen so far; may be called again.
// Refuses readers of one weight that want different layouts.
Status place_weights(Blueprint& blueprint);

}  // namespace rt
