// One section of an ELF64 shared library, found with a reader that executes nothing, trusts
// nothing and allocates at most the section and the section names.
//
// Written here because the reader in Boost.DLL 1.74 dies on 13 of 300 corrupted headers. It also
// refuses what dlopen() would answer with SIGBUS: a loadable segment beyond the end of the file.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/base/result.h"

namespace rt {

inline constexpr std::uint64_t kSectionCountLimit = 4096;
inline constexpr std::uint64_t kSectionNamesLimitBytes = 1024 * 1024;
inline constexpr std::uint64_t kSegmentCountLimit = 1024;

// The bytes of section `name` of the shared library `path`, at most limit_bytes. The library must
// be ELF64, little-endian and for the machine that this program runs on.
Result<std::string> read_elf_section(const std::string& path, std::string_view name,
                                     std::uint64_t limit_bytes);

}  // namespace rt
