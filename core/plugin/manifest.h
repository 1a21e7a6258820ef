// The manifest of a plugin: text in the ELF section .rt_manifest that says what a library holds,
// read without running a line of it (grammar in core/sdk/plugin.h).
//
// A library for another ABI, another processor, or one that was cut short is refused here, with a
// sentence, before dlopen() sees it. Everything is bounded: see elf_section.h for the file and the
// constants below for the text.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/result.h"

namespace rt {

inline constexpr std::uint64_t kManifestLimitBytes = 64 * 1024;
inline constexpr std::size_t kManifestLineLimitBytes = 256;
inline constexpr std::size_t kNameLimitBytes = 64;  // plugins, operators, implementations, ...

// "rms_norm@1".
struct OperatorId {
  std::string op;
  std::uint32_t version = 0;

  std::string text() const { return op + "@" + std::to_string(version); }
  friend auto operator<=>(const OperatorId&, const OperatorId&) = default;
};

struct ManifestImplementation {
  OperatorId op;
  std::string device_kind;  // "cpu"
  std::string name;         // "avx2"
  std::string isa;          // "avx2,fma"; "" for the baseline

  friend auto operator<=>(const ManifestImplementation&, const ManifestImplementation&) = default;
};

// A fused operator and the operators of its pattern, each once, as they first stand there.
struct ManifestFusion {
  OperatorId op;
  std::vector<OperatorId> parts;

  friend auto operator<=>(const ManifestFusion&, const ManifestFusion&) = default;
};

struct Manifest {
  std::string plugin;
  std::string version;
  std::uint32_t abi_major = 0;  // built against
  std::uint32_t abi_minor = 0;
  std::uint32_t min_host_minor = 0;  // of the same major
  std::vector<OperatorId> schemas;
  std::vector<ManifestImplementation> implementations;
  std::vector<std::string> planners;
  std::vector<std::string> devices;
  std::vector<ManifestFusion> fusions{};
};

// The grammar of names: [a-z0-9_]+, at most kNameLimitBytes.
bool is_name(std::string_view text);
// A bare name, or "namespace.name".
bool is_operator_name(std::string_view text);
// "rms_norm@1".
bool parse_operator(std::string_view text, OperatorId* out);
// "avx2,fma": words of [a-z0-9_.] with commas between; "" is the baseline.
bool is_isa_list(std::string_view text);
// "1.3.0", "2.0-rc1": [A-Za-z0-9.+-]+, at most kNameLimitBytes.
bool is_version(std::string_view text);

// Parses a manifest, checks its ABI against this runtime's, and names `file` and the line in every
// refusal. Trailing NULs are allowed (a C string ends in one); a second text after one is not.
Result<Manifest> parse_manifest(std::string_view text, const std::string& file);

// Finds the manifest in the library `path` and parses it.
Result<Manifest> read_manifest(const std::string& path);

}  // namespace rt
