// Checks a plugin's descriptor, completely, before anything else believes it: struct sizes, NULLs,
// counts, names, sanity of schemas and implementations, and that it says what the manifest says.
//
// What cannot be checked is that a pointer which is not NULL points to something.
#pragma once

#include "core/base/result.h"
#include "core/plugin/manifest.h"
#include "core/sdk/plugin.h"

namespace rt {

inline constexpr std::uint32_t kDescriptorCountLimit = 4096;  // per list

// Refusals are sentences without the plugin's name or path.
Status check_descriptor(const rt_plugin& plugin, const Manifest& manifest);

}  // namespace rt
