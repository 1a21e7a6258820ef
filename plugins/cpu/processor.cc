#include "plugins/cpu/processor.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>

#include "plugins/cpu/text_file.h"
#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace rt::cpu {

std::string processor_name() {
  for (const std::string& line : read_lines("/proc/cpuinfo")) {
    if (!line.starts_with("model name")) continue;
    const std::size_t colon = line.find(": ");
    if (colon != std::string::npos) return line.substr(colon + 2);
  }
#if defined(__x86_64__)
  return "x86-64 CPU";
#elif defined(__aarch64__)
  return "arm64 CPU";
#else
  return "CPU";
#endif
}

#if defined(__x86_64__)
namespace {

enum Register { kEax, kEbx, kEcx, kEdx };
struct Leaf {
  std::uint32_t registers[4] = {};  // zero where the leaf does not exist
  Leaf(std::uint32_t leaf, std::uint32_t subleaf) {
    __get_cpuid_count(leaf, subleaf, &registers[0], &registers[1], &registers[2], &registers[3]);
  }
  bool has(Register r, int bit) const { return (registers[r] >> bit & 1u) != 0; }
};

// The register states that the operating system saves.
std::uint64_t saved_states(const Leaf& leaf1) {
  if (!leaf1.has(kEcx, 27)) return 0;  // OSXSAVE: XGETBV may be executed
  std::uint32_t low = 0;
  std::uint32_t high = 0;
  asm("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return static_cast<std::uint64_t>(high) << 32 | low;
}

bool made_by_amd() {
  const Leaf vendor(0, 0);
  return vendor.registers[kEbx] == 0x68747541 && vendor.registers[kEdx] == 0x69746e65 &&
         vendor.registers[kEcx] == 0x444d4163;  // "Auth" "enti" "cAMD"
}

}  // namespace

std::string instruction_sets() {
  const Leaf leaf1(1, 0);
  const Leaf leaf7(7, 0);
  const Leaf leaf7_1(7, 1);
  const std::uint64_t saved = saved_states(leaf1);
  const bool ymm = (saved & 0x6) == 0x6;            // SSE, AVX
  const bool zmm = (saved & 0xe6) == 0xe6;          // and opmask, upper halves, zmm16-31
  const bool tiles = (saved & 0x60000) == 0x60000;  // tile configuration and data
  const struct {
    const char* name;
    bool present;
  } sets[] = {
      {"sse4_2", leaf1.has(kEcx, 20)},
      {"avx", ymm && leaf1.has(kEcx, 28)},
      {"avx2", ymm && leaf7.has(kEbx, 5)},
      {"fma", ymm && leaf1.has(kEcx, 12)},
      {"f16c", ymm && leaf1.has(kEcx, 29)},
      {"bmi2", leaf7.has(kEbx, 8)},
      {"avxvnni", ymm && leaf7_1.has(kEax, 4)},
      {"avx512f", zmm && leaf7.has(kEbx, 16)},
      {"avx512bw", zmm && leaf7.has(kEbx, 30)},
      {"avx512dq", zmm && leaf7.has(kEbx, 17)},
      {"avx512vl", zmm && leaf7.has(kEbx, 31)},
      {"avx512_vbmi", zmm && leaf7.has(kEcx, 1)},
      {"avx512_vnni", zmm && leaf7.has(kEcx, 11)},
      {"avx512_bf16", zmm && leaf7_1.has(kEax, 5)},
      {"fast_bf16", zmm && leaf7_1.has(kEax, 5) && made_by_amd()},
      {"avx512_fp16", zmm && leaf7.has(kEdx, 23)},
      {"amx_tile", tiles && leaf7.has(kEdx, 24)},
      {"amx_bf16", tiles && leaf7.has(kEdx, 22)},
      {"amx_int8", tiles && leaf7.has(kEdx, 25)},
  };
  std::string list;
  for (const auto& set : sets) {
    if (set.present) list += (list.empty() ? "" : ",") + std::string(set.name);
  }
  return list;
}

void request_amx() {
  if (instruction_sets().find("amx_tile") == std::string::npos) return;
  constexpr int kArchReqXcompPerm = 0x1023;
  constexpr int kTileData = 18;
  syscall(SYS_arch_prctl, kArchReqXcompPerm, kTileData);
}

#else

std::string instruction_sets() {
  return "";
}
void request_amx() {}

#endif

namespace {

bool has_word(std::string_view list, std::string_view word) {
  return ("," + std::string(list) + ",").find("," + std::string(word) + ",") != std::string::npos;
}

// Takes the first word of `list` off.
std::string_view next_word(std::string_view* list) {
  const std::size_t comma = std::min(list->find(','), list->size());
  const std::string_view word = list->substr(0, comma);
  list->remove_prefix(std::min(comma + 1, list->size()));
  return word;
}

}  // namespace

bool limit_instruction_sets(std::string_view wanted, std::string* sets, std::string* why) {
  const std::string all = instruction_sets();
  if (wanted == "all") {
    *sets = all;
    return true;
  }
  if (wanted == "none") wanted = "";
  for (std::string_view rest = wanted; !rest.empty();) {
    const std::string_view word = next_word(&rest);
    if (!word.empty() && word.size() <= 64 && has_word(all, word)) continue;
    *why = "expected option isa as all, none or a list of instruction sets of this processor (" +
           all + "), found '" + std::string(word.substr(0, 64)) + "'";
    return false;
  }
  sets->clear();
  for (std::string_view rest = all; !rest.empty();) {
    const std::string_view word = next_word(&rest);
    if (has_word(wanted, word)) *sets += (sets->empty() ? "" : ",") + std::string(word);
  }
  return true;
}

}  // namespace rt::cpu
