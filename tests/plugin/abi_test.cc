// The boundary does not move by accident: sizes, offsets and enumerators of the C headers are
// compared with abi_record.txt, and the headers compile strictly as what they promise to be.
//
// The list of structs and fields is read from the headers themselves, made into a C program,
// compiled and run. If a change is meant: copy the file that the failure names over the record, and
// say why in its first lines.
#include <gtest/gtest.h>

#include <array>
#include <filesystem>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

#include "scene.h"

namespace rt {
namespace {

using test::read_bytes;
using test::Scene;
using test::write_bytes;

const std::array kHeaders = {"abi.h", "step.h", "device.h", "operator.h", "planner.h", "plugin.h"};

std::string header_text(const std::string& name) {
  return read_bytes(RT_SOURCE_DIR "/core/sdk/" + name);
}

std::string without_comments(const std::string& text) {
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    if (text.compare(i, 2, "/*") == 0) {
      i = text.find("*/", i) + 2;
    } else {
      out += text[i++];
    }
  }
  return out;
}

struct Struct {
  std::string name;
  std::vector<std::string> fields;
};

// The name a declaration declares: "(*plan)(...)" or the last identifier before "[" or the end.
std::string declared_name(const std::string& declaration) {
  std::smatch match;
  if (std::regex_search(declaration, match, std::regex(R"(\(\*\s*(\w+)\s*\))"))) return match[1];
  if (std::regex_search(declaration, match, std::regex(R"((\w+)\s*(\[[^\]]*\])?\s*$)"))) {
    return match[1];
  }
  return "";
}

std::vector<Struct> structs_of(const std::string& text) {
  std::vector<Struct> found;
  const std::regex begin(R"((?:typedef )?struct (rt_\w+) \{)");
  for (std::sregex_iterator it(text.begin(), text.end(), begin), end; it != end; ++it) {
    const std::size_t open = static_cast<std::size_t>(it->position() + it->length());
    std::istringstream body(text.substr(open, text.find("\n}", open) - open));
    Struct item{(*it)[1], {}};
    for (std::string declaration; std::getline(body, declaration, ';');) {
      const std::string name = declared_name(declaration);
      if (!name.empty()) item.fields.push_back(name);
    }
    found.push_back(item);
  }
  return found;
}

std::vector<std::string> enumerators_of(const std::string& text) {
  std::vector<std::string> found;
  const std::regex body(R"(enum \{([^}]*)\})");
  const std::regex name(R"((RT_\w+)\s*=)");
  for (std::sregex_iterator it(text.begin(), text.end(), body), end; it != end; ++it) {
    const std::string inside = (*it)[1];
    for (std::sregex_iterator n(inside.begin(), inside.end(), name); n != end; ++n) {
      found.push_back((*n)[1]);
    }
  }
  return found;
}

// A C program that prints the record.
std::string record_program() {
  std::string program = "#include <stdio.h>\n#include \"core/sdk/plugin.h\"\nint main(void) {\n";
  for (const char* header : kHeaders) {
    const std::string text = without_comments(header_text(header));
    program += "  puts(\"\\n# " + std::string(header) + "\");\n";
    for (const std::string& name : enumerators_of(text)) {
      program += "  printf(\"" + name + " %d\\n\", (int)" + name + ");\n";
    }
    for (const Struct& item : structs_of(text)) {
      program += "  printf(\"" + item.name + " %zu\\n\", sizeof(" + item.name + "));\n";
      for (const std::string& field : item.fields) {
        const std::string member = "((" + item.name + "*)0)->" + field;
        program += "  printf(\"  " + field + " at %zu, %zu bytes\\n\", offsetof(" + item.name +
                   ", " + field + "), sizeof(" + member + "));\n";
      }
    }
  }
  return program + "  return 0;\n}\n";
}

int shell(const std::string& command) {
  return std::system(command.c_str());
}

std::string compile(const std::string& compiler, const std::string& flags, const std::string& file,
                    const std::string& output) {
  const std::string log = output + ".log";
  const int status = shell(compiler + " -Wall -Wextra -pedantic -Werror " + flags +
                           " -I" RT_SOURCE_DIR " " + file + " -o " + output + " 2> " + log);
  return status == 0 ? "" : read_bytes(log);
}

// The part of a record after its preface.
std::string body_of(const std::string& record) {
  const std::size_t at = record.find("\n# abi.h");
  return at == std::string::npos ? "" : record.substr(at);
}

TEST(Abi, SizesAndOffsetsAreAsRecorded) {
  const Scene scene;
  const std::string source = scene.root() + "/record.c";
  write_bytes(source, record_program());
  const std::string program = scene.root() + "/record";
  ASSERT_EQ(compile(RT_C_COMPILER, "-std=c11", source, program), "");
  const std::string found_path = RT_BINARY_DIR "/abi_record.found.txt";
  ASSERT_EQ(shell(program + " > " + found_path), 0);
  const std::string found = read_bytes(found_path);
  ASSERT_GT(found.size(), 4000u);
  EXPECT_EQ(body_of(found), body_of(read_bytes(RT_SOURCE_DIR "/tests/plugin/abi_record.txt")))
      << "the boundary has changed; if that is meant, copy " << found_path
      << " over tests/plugin/abi_record.txt below its preface, and add the reason to the preface";
}

TEST(Abi, EveryStructStartsWithItsSizeButTheFrozenRecord) {
  std::size_t count = 0;
  for (const char* header : kHeaders) {
    for (const Struct& item : structs_of(without_comments(header_text(header)))) {
      ++count;
      ASSERT_FALSE(item.fields.empty()) << item.name;
      if (item.name == "rt_sampling") {
        EXPECT_EQ(item.fields[0], "temperature");
      } else {
        EXPECT_EQ(item.fields[0], "struct_size") << item.name << " in " << header;
      }
    }
  }
  EXPECT_GE(count, 24u);
}

class HeaderTest : public testing::TestWithParam<const char*> {};

TEST_P(HeaderTest, CompilesAloneAsC11AndCpp20) {
  const Scene scene;
  const std::string include = std::string("#include \"core/sdk/") + GetParam() + "\"\n";
  const std::string out = scene.root() + "/out.o";
  if (std::string(GetParam()).ends_with(".h")) {
    write_bytes(scene.root() + "/a.c", include + "typedef int not_empty;\n");
    EXPECT_EQ(compile(RT_C_COMPILER, "-std=c11 -c", scene.root() + "/a.c", out), "");
  }
  write_bytes(scene.root() + "/a.cc", include + include);
  EXPECT_EQ(compile(RT_CXX_COMPILER, "-std=c++20 -c", scene.root() + "/a.cc", out), "");
}

std::vector<const char*> all_headers() {
  static std::vector<std::string> names;
  for (const auto& file : std::filesystem::directory_iterator(RT_SOURCE_DIR "/core/sdk")) {
    const std::string extension = file.path().extension().string();
    if (extension == ".h" || extension == ".hpp") names.push_back(file.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  std::vector<const char*> out;
  for (const std::string& name : names) out.push_back(name.c_str());
  return out;
}

INSTANTIATE_TEST_SUITE_P(Sdk, HeaderTest, testing::ValuesIn(all_headers()), [](const auto& item) {
  std::string name = item.param;
  for (char& c : name) {
    if (c == '.') c = '_';
  }
  return name;
});

}  // namespace
}  // namespace rt
