// The manifest: its grammar, and the ELF reader under damage.
#include "core/plugin/manifest.h"

#include <elf.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>

#include "core/plugin/elf_section.h"
#include "scene.h"

namespace rt {
namespace {

using test::read_bytes;
using test::Scene;
using test::write_bytes;

const std::string kHead = "plugin: acme_norm\nversion: 1.3.0\nabi: 0.1\nmin_host: 0.1\n";

TEST(Manifest, ReadsEveryKey) {
  const auto parsed = parse_manifest(kHead +
                                         "schema: acme.norm@1\n\n"
                                         "fusion: acme.norm_add@2 rms_norm@1 add@1\n"
                                         "implementation: acme.norm@1 cpu reference -\n"
                                         "implementation:   acme.norm@1  cpu avx2  avx2,fma  \n"
                                         "planner: roomy\n"
                                         "device: toy" +
                                         std::string(1, '\0'),
                                     "x.rtp.so");
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  const Manifest& manifest = parsed.value();
  EXPECT_EQ(manifest.plugin, "acme_norm");
  EXPECT_EQ(manifest.version, "1.3.0");
  EXPECT_EQ(manifest.abi_minor, 1u);
  EXPECT_EQ(manifest.schemas, (std::vector<OperatorId>{{"acme.norm", 1}}));
  ASSERT_EQ(manifest.fusions.size(), 1u);
  EXPECT_EQ(manifest.fusions[0].op, (OperatorId{"acme.norm_add", 2}));
  EXPECT_EQ(manifest.fusions[0].parts, (std::vector<OperatorId>{{"rms_norm", 1}, {"add", 1}}));
  ASSERT_EQ(manifest.implementations.size(), 2u);
  EXPECT_EQ(manifest.implementations[0].isa, "");
  EXPECT_EQ(manifest.implementations[1].op.text(), "acme.norm@1");
  EXPECT_EQ(manifest.implementations[1].device_kind, "cpu");
  EXPECT_EQ(manifest.implementations[1].name, "avx2");
  EXPECT_EQ(manifest.implementations[1].isa, "avx2,fma");
  EXPECT_EQ(manifest.planners, std::vector<std::string>{"roomy"});
  EXPECT_EQ(manifest.devices, std::vector<std::string>{"toy"});
}

struct BadManifest {
  std::string text;
  std::string message;
};

TEST(Manifest, RefusesWithFileAndLine) {
  const std::string planner = "planner: roomy\n";
  const BadManifest cases[] = {
      {"", "x: manifest: expected a line \"plugin: ...\""},
      {kHead + "fusion: acme.norm_add@1\n",
       "x: manifest line 5: expected a fused operator and the operators of its pattern, each once "
       "(\"acme.norm_add@1 rms_norm@1 add@1\"), found 'acme.norm_add@1'"},
      {kHead + "fusion: acme.add2@1 add@1 add@1\n",
       "x: manifest line 5: expected a fused operator and the operators of its pattern, each once "
       "(\"acme.norm_add@1 rms_norm@1 add@1\"), found 'acme.add2@1 add@1 add@1'"},
      {kHead + "fusion: acme.add2@1 add@1\nfusion: acme.add2@1 mlp@1\n",
       "x: manifest line 6: fusion 'acme.add2@1' was given before"},
      {kHead,
       "x: manifest: expected a schema, fusion, implementation, planner or device, found none"},
      {"plugin: acme\nversion: 1\nabi: 0.1\n" + planner,
       "x: manifest: expected a line \"min_host: ...\""},
      {"plugin Acme\n",
       "x: manifest line 1: expected \"key: value\" of at most 256 bytes, found 'plugin Acme'"},
      {"plugin: " + std::string(300, 'a') + "\n",
       "x: manifest line 1: expected \"key: value\" of at most 256 bytes, found "},
      {"plugin: Acme\n", "x: manifest line 1: expected a name of [a-z0-9_], found 'Acme'"},
      {"plugin: ../../tmp/x\n",
       "x: manifest line 1: expected a name of [a-z0-9_], found '../../tmp/x'"},
      {"plugin: " + std::string(65, 'a') + "\n",
       "x: manifest line 1: expected a name of [a-z0-9_], found "},
      {"plugin:\n", "x: manifest line 1: expected a name of [a-z0-9_], found ''"},
      {"plugin: a\nplugin: b\n", "x: manifest line 2: plugin was given before"},
      {"version: 1 3\n", "x: manifest line 1: expected a version (\"1.3.0\"), found '1 3'"},
      {"abi: one\n", "x: manifest line 1: expected major.minor (\"0.1\"), found 'one'"},
      {"abi: 0\n", "x: manifest line 1: expected major.minor (\"0.1\"), found '0'"},
      {"abi: 0.-1\n", "x: manifest line 1: expected major.minor (\"0.1\"), found '0.-1'"},
      {"abi: 0.99999999999\n", "x: manifest line 1: expected major.minor"},
      {kHead + "schema: acme.norm\n",
       "x: manifest line 5: expected operator@version (\"acme.norm@1\"), found 'acme.norm'"},
      {kHead + "schema: acme.norm@0\n", "x: manifest line 5: expected operator@version"},
      {kHead + "schema: a.b.c@1\n", "x: manifest line 5: expected operator@version"},
      {kHead + "schema: a.b@1\nschema: a.b@1\n", "x: manifest line 6: 'a.b@1' was given before"},
      {kHead + "implementation: norm@1 cpu avx2\n",
       "x: manifest line 5: expected \"operator@version device name isa\" (\"acme.norm@1 cpu avx2 "
       "avx2,fma\"; - for no isa), found 'norm@1 cpu avx2'"},
      {kHead + "implementation: norm@1 cpu avx2 avx2,,fma\n", "x: manifest line 5: expected \"op"},
      {kHead + "implementation: norm@1 cpu avx2 ,\n", "x: manifest line 5: expected \"op"},
      {kHead + "implementation: a@1 cpu b -\nimplementation: a@1 cpu b avx2\n",
       "x: manifest line 6: implementation 'a@1 cpu b avx2' was given before"},
      {kHead + "planner: roomy\nplanner: roomy\n", "x: manifest line 6: 'roomy' was given before"},
      {kHead + "planer: roomy\n",
       "x: manifest line 5: unknown key 'planer'; did you mean 'planner'?"},
      {kHead + "planner: roomy\n" + std::string(1, '\0') + kHead,
       "x: manifest: expected one text, found two; RT_MANIFEST may stand once in a plugin"},
      {"plugin: \xff\n", "x: manifest: expected printable ASCII, found byte 255"},
      {"plugin: acme\r\n", "x: manifest: expected printable ASCII, found byte 13"},
      {"plugin: a\nversion: 1\nabi: 1.0\nmin_host: 1.0\nwhat is this\n",
       "x: built for plugin ABI 1.0, this runtime has 0.1; build it with this runtime's SDK"},
      {"plugin: a\nversion: 1\nabi: 0.4\nmin_host: 0.3\n" + planner,
       "x: needs a runtime with plugin ABI 0.3 or later, this one has 0.1; update the runtime"},
      {"plugin: a\nversion: 1\nabi: 0.1\nmin_host: 0.2\n" + planner,
       "x: manifest: expected min_host to be of the abi's major and not above it, found abi 0.1, "
       "min_host 0.2"},
      {"plugin: a\nversion: 1\nabi: 0.1\nmin_host: 1.0\n" + planner,
       "x: manifest: expected min_host to be of the abi's major"},
  };
  for (const BadManifest& item : cases) {
    const auto parsed = parse_manifest(item.text, "x");
    ASSERT_FALSE(parsed.ok()) << item.text;
    EXPECT_EQ(parsed.error().fault, Fault::kBadInput);
    EXPECT_EQ(parsed.error().message.substr(0, item.message.size()), item.message);
  }
}

TEST(Manifest, LaterKeysAreSkippedInALaterMinorOnly) {
  const std::string text =
      "plugin: a\nversion: 1\nabi: 0.9\nmin_host: 0.1\ngpu_arch: sm_90\nplanner: roomy\n";
  const auto parsed = parse_manifest(text, "x");
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  EXPECT_EQ(parsed->abi_minor, 9u);
}

TEST(Manifest, NameGrammars) {
  EXPECT_TRUE(is_name("rms_norm2"));
  EXPECT_FALSE(is_name("rms-norm"));
  EXPECT_FALSE(is_name(""));
  EXPECT_TRUE(is_operator_name("acme.norm"));
  EXPECT_FALSE(is_operator_name(".norm"));
  EXPECT_FALSE(is_operator_name("acme."));
  EXPECT_TRUE(is_isa_list(""));
  EXPECT_TRUE(is_isa_list("avx2,sse4.1"));
  EXPECT_FALSE(is_isa_list("avx2,"));
  EXPECT_FALSE(is_isa_list("AVX2"));
}

TEST(ElfSection, ReadsABuiltPlugin) {
  const auto manifest = read_manifest(Scene::built("acme_scale"));
  ASSERT_TRUE(manifest.ok()) << manifest.error().message;
  EXPECT_EQ(manifest->plugin, "acme_scale");
  EXPECT_EQ(manifest->implementations.size(), 3u);
}

// Sets a field of the ELF header of a copy of a good plugin.
template <class Set>
std::string with_header(Set&& set) {
  std::string bytes = read_bytes(Scene::built("acme_scale"));
  Elf64_Ehdr header;
  std::memcpy(&header, bytes.data(), sizeof header);
  set(header, bytes);
  std::memcpy(bytes.data(), &header, sizeof header);
  return bytes;
}

std::string refusal_of(const std::string& bytes) {
  const Scene scene;
  const std::string path = scene.root() + "/x.rtp.so";
  write_bytes(path, bytes);
  const auto manifest = read_manifest(path);
  if (manifest.ok()) return "";
  return manifest.error().message.substr(path.size());
}

TEST(ElfSection, RefusesEveryKindOfDamage) {
  using H = Elf64_Ehdr;
  using S = std::string;
  const S good = read_bytes(Scene::built("acme_scale"));
  const S size = std::to_string(good.size());
  EXPECT_EQ(refusal_of(""), ": expected a shared library (ELF), found an empty file");
  EXPECT_EQ(refusal_of("#!/bin/sh\n"),
            ": expected a shared library (ELF), found a file that begins with '#!/b'");
  EXPECT_EQ(
      refusal_of(good.substr(0, 20)),
      ": its ELF header lies at byte 0, 64 bytes long, in a file of 20 bytes; was the file cut "
      "short?");
  EXPECT_EQ(refusal_of(with_header([](H& h, S&) { h.e_machine = EM_AARCH64; })),
            ": expected a library for x86-64, found one for AArch64; build it for this machine");
  EXPECT_EQ(refusal_of(with_header([](H& h, S&) { h.e_ident[EI_CLASS] = ELFCLASS32; })),
            ": expected a 64-bit little-endian library, found ELF class 1, byte order 1");
  EXPECT_EQ(refusal_of(with_header([](H& h, S&) { h.e_type = ET_EXEC; })),
            ": expected a shared library, found ELF type 2");
  EXPECT_EQ(refusal_of(with_header([](H& h, S&) { h.e_shnum = 0; })),
            ": it has no section headers");
  EXPECT_EQ(refusal_of(with_header([](H& h, S&) { h.e_shnum = 65000; })),
            ": expected at most 4096 section headers of 64 bytes, found 65000 of 64");
  EXPECT_EQ(refusal_of(with_header([](H& h, S&) {
              h.e_shentsize = 8;
            })).find(": expected at most 4096 section headers of 64 bytes, found"),
            0u);
  EXPECT_EQ(refusal_of(with_header([](H& h, S&) {
              h.e_shoff = UINT64_MAX - 8;
            })).find(": its table of section headers lies at byte 18446744073709551607"),
            0u);
  EXPECT_EQ(refusal_of(with_header([](H& h, S&) {
              h.e_phoff = UINT64_MAX;
            })).find(": its table of program headers lies at byte 18446744073709551615"),
            0u);
  EXPECT_EQ(refusal_of(with_header([](H& h, S&) { h.e_phnum = 0; })),
            ": it has no program headers");
  EXPECT_EQ(refusal_of(with_header([](H& h, S&) {
              h.e_shstrndx = 0xfff0;
            })).find(": its section names are in section 65520 of "),
            0u);
  EXPECT_EQ(refusal_of(with_header([](H& h, S&) { h.e_shstrndx = 0; })),
            ": its section names are no string table of at most 1.00 MiB");
  const S cut = refusal_of(good.substr(0, good.size() / 2));
  EXPECT_NE(cut.find("was the file cut short?"), S::npos) << cut;
}

// The section header of .rt_manifest, changed.
template <class Set>
std::string with_manifest_section(Set&& set) {
  std::string bytes = read_bytes(Scene::built("acme_scale"));
  Elf64_Ehdr header;
  std::memcpy(&header, bytes.data(), sizeof header);
  Elf64_Shdr names;
  std::memcpy(&names, &bytes[header.e_shoff + header.e_shstrndx * sizeof names], sizeof names);
  for (std::size_t i = 0; i < header.e_shnum; ++i) {
    char* at = &bytes[header.e_shoff + i * sizeof(Elf64_Shdr)];
    Elf64_Shdr section;
    std::memcpy(&section, at, sizeof section);
    if (std::strcmp(&bytes[names.sh_offset + section.sh_name], ".rt_manifest") != 0) continue;
    set(section, names);
    std::memcpy(at, &section, sizeof section);
    std::memcpy(&bytes[header.e_shoff + header.e_shstrndx * sizeof names], &names, sizeof names);
    break;
  }
  return bytes;
}

TEST(ElfSection, RefusesDamagedSections) {
  using S = Elf64_Shdr;
  EXPECT_EQ(
      refusal_of(with_manifest_section([](S& s, S&) { s.sh_size = 1 << 20; })),
      ": expected section .rt_manifest to hold at most 64.0 KiB of data, found type 1, 1048576 "
      "bytes");
  EXPECT_EQ(refusal_of(with_manifest_section([](S& s, S&) {
              s.sh_type = SHT_NOBITS;
            })).find(": expected section .rt_manifest to hold at most 64.0 KiB of data, found"),
            0u);
  EXPECT_EQ(refusal_of(with_manifest_section([](S& s, S&) {
              s.sh_offset = UINT64_MAX - 3;
            })).find(": its section .rt_manifest lies at byte 18446744073709551612"),
            0u);
  EXPECT_EQ(refusal_of(with_manifest_section([](S& s, S&) { s.sh_name = 0xffffffff; })),
            ": it has no section .rt_manifest: it is no plugin of this runtime (a plugin says "
            "RT_MANIFEST once)");
  EXPECT_EQ(refusal_of(with_manifest_section([](S&, S& names) {
              names.sh_offset = 1ull << 60;
            })).find(": its table of section names lies at byte 1152921504606846976"),
            0u);
  EXPECT_EQ(refusal_of(with_manifest_section([](S& s, S&) { s.sh_size = 30; })).find(": manifest"),
            0u);
}

TEST(ElfSection, LoadableSegmentBeyondTheEndIsRefused) {
  std::string bytes = with_header([](Elf64_Ehdr& header, std::string& all) {
    for (std::size_t i = 0; i < header.e_phnum; ++i) {
      Elf64_Phdr segment;
      char* at = &all[header.e_phoff + i * sizeof segment];
      std::memcpy(&segment, at, sizeof segment);
      if (segment.p_type != PT_LOAD) continue;
      segment.p_filesz = 1ull << 40;
      std::memcpy(at, &segment, sizeof segment);
    }
  });
  EXPECT_EQ(refusal_of(bytes).find(": a segment of it lies at byte 0, 1099511627776 bytes long"),
            0u);
}

// 300 libraries with random bytes in their headers, section table and names: none may crash or
// read outside (the sanitizers look), each ends in a manifest or in a sentence.
TEST(ElfSection, SurvivesThreeHundredCorruptedHeaders) {
  const Scene scene;
  const std::string path = scene.root() + "/x.rtp.so";
  const std::string good = read_bytes(Scene::built("acme_scale"));
  Elf64_Ehdr header;
  std::memcpy(&header, good.data(), sizeof header);
  std::mt19937 random(20240229);
  int refused = 0;
  for (int round = 0; round < 300; ++round) {
    std::string bytes = good;
    const int flips = 1 + static_cast<int>(random() % 8);
    for (int i = 0; i < flips; ++i) {
      const bool in_sections = random() % 2 == 0;
      const std::size_t begin = in_sections ? header.e_shoff : 0;
      const std::size_t range = in_sections ? good.size() - header.e_shoff : 64 + 56 * 8;
      bytes[begin + random() % range] = static_cast<char>(random());
    }
    if (round % 5 == 0) bytes.resize(random() % bytes.size());
    write_bytes(path, bytes);
    const auto manifest = read_manifest(path);
    if (manifest.ok()) continue;
    ++refused;
    EXPECT_EQ(manifest.error().message.find(path), 0u);
  }
  EXPECT_GT(refused, 60);
}

TEST(ElfSection, UnreadablePathsAreRefused) {
  const Scene scene;
  EXPECT_EQ(read_manifest(scene.root() + "/gone").error().message,
            scene.root() + "/gone: cannot open: No such file or directory");
  EXPECT_EQ(read_manifest(scene.root()).error().message,
            scene.root() + ": expected a regular file");
}

}  // namespace
}  // namespace rt
