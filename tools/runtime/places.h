// Where the files that are shipped with the command are: ../share/runtime beside the executable, in
// a build tree and in an installed prefix alike, so that a prefix works when it is moved.
#pragma once

#include <string>

#include "core/base/result.h"

namespace rt {

// The file `name` if there is one, else the shipped graph (config) of that name.
Result<std::string> find_graph(const std::string& name);
Result<std::string> find_config(const std::string& name);
// A file that describes a device: as named, or a shipped one.
std::string find_device_file(const std::string& name);

// The folder `name` if there is one, else the folder of a shipped model ("demo"), else `name`.
std::string find_model_folder(const std::string& name);

}  // namespace rt
