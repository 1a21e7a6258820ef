// From settings to what core wants: the plugins, engine options, sampling.
#pragma once

#include <memory>

#include "core/engine/options.h"
#include "core/engine/session.h"
#include "core/plugin/registry.h"
#include "tools/runtime/arguments.h"
#include "tools/runtime/settings.h"

namespace rt {

// Built-in values, the config file, --set, the environment and the command line, in that order.
Result<Settings> load_settings(const Arguments& arguments);

// The sampling values of a checkpoint's generation_config.json, below everything the user says.
// Absent files are fine; a value out of range is an Error that names it.
Status add_generation_config(const std::string& folder, Settings& settings);

// All plugins; refuses if `reference` or one that the user named cannot be used.
Result<std::unique_ptr<Registry>> scan_plugins(const Settings& settings);

// Everything but the weights' place and the declared budget.
Result<EngineOptions> engine_options(const Settings& settings, const std::string& graph,
                                     const Registry& registry);

// A seed of -1 is drawn here, once.
Sampling sampling_of(const Settings& settings);

}  // namespace rt
