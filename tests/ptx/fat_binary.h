// The fat binaries that nvcc puts into objects.
#pragma once

#include <string>

namespace ptx {

// The PTX in the fat binary that begins at `fat`, decompressed where it is compressed. Ends the
// process with a sentence if there is none.
std::string text_in(const unsigned char* fat);

}  // namespace ptx
