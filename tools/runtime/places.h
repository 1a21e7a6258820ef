// Where the files that are shipped with the command are: ../share/runtime beside the executable, in
// a build tree and in an installed prefix alike, so that a prefix works when it is moved.
#pragma once

#include <string>
#include <vector>

#include "core/base/result.h"

namespace rt {

// The file `name` if there is one, else the shipped graph (config) of that name.
Result<std::string> find_graph(const std::string& name);
// "gemma", "phi3": those that are shipped.
std::vector<std::string> shipped_graphs();
Result<std::string> find_config(const std::string& name);
// The same for a file that describes a device.
Result<std::string> find_device_file(const std::string& name);
// True if find_device_file() has it, or can say what was meant.
bool resembles_device_file(const std::string& name);

// The folder `name` if there is one, else the folder of a shipped model ("demo"), else `name`: who
// wants to read it knows where else to look. An Error where `name` is a misspelling.
Result<std::string> find_model_folder(const std::string& name);

}  // namespace rt
