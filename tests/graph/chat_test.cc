// The chat formats of the shipped graphs, against what the models' own templates print.
#include <gtest/gtest.h>

#include <filesystem>

#include "core/base/json.h"
#include "core/graph/document.h"

namespace rt {
namespace {

std::string trimmed(const std::string& text) {
  const char* const kWhite = " \t\n\r\v\f";
  const std::size_t begin = text.find_first_not_of(kWhite);
  if (begin == std::string::npos) return "";
  return text.substr(begin, text.find_last_not_of(kWhite) - begin + 1);
}

// The rule of core/text/chat_format.h in its plainest form.
std::string render(const ChatDeclaration& chat, const Json& messages, bool generate) {
  std::string out = chat.bos;
  for (const Json& message : messages) {
    const auto role = message["role"].get<std::string>();
    const auto content = message["content"].get<std::string>();
    if (role == "system" && !chat.system.has_value()) continue;
    const ChatTurnDeclaration& turn = role == "system" ? *chat.system
                                      : role == "user" ? chat.user
                                                       : chat.assistant;
    out += turn.prefix + (chat.trim ? trimmed(content) : content) + turn.suffix;
  }
  return out + (generate ? chat.generation_prompt : "");
}

TEST(Chat, FormatsPrintWhatTheTemplatesPrint) {
  const std::string path = std::string(RT_SOURCE_DIR) + "/../shared/data/chat/golden.json";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not there";
  const Json golden = read_json(path, 1 << 24).value();
  const std::map<std::string, std::string> graphs = {
      {"TinyLlama-1.1B-Chat-v1.0 (=zephyr-7b-beta)", "tinyllama"},
      {"Phi-3-mini-4k (bos)", "phi3"},
      {"gemma-it (ollama index)", "gemma"},
      {"gemma-2-2b-it", "gemma2"}};
  int compared = 0;
  for (const Json& row : golden["cases"]) {
    const auto name = graphs.find(row["template"].get<std::string>());
    if (name == graphs.end()) continue;
    const Result<GraphDocument> document =
        read_graph(std::string(RT_SOURCE_DIR) + "/graphs/" + name->second + ".yaml");
    ASSERT_TRUE(document.ok()) << document.error().message;
    const ChatDeclaration& chat = *document->chat;
    const Json& messages = golden["conversations"][row["conversation"].get<std::string>()];
    if (!row.contains("output")) {  // the template raises: a system turn it does not have
      EXPECT_FALSE(chat.system.has_value() || chat.drop_system) << row.dump();
      EXPECT_TRUE(chat.must_alternate);
      continue;
    }
    ++compared;
    EXPECT_EQ(render(chat, messages, row["add_generation_prompt"].get<bool>()),
              row["output"].get<std::string>())
        << row["template"] << " " << row["conversation"];
  }
  EXPECT_GT(compared, 40);
}

// Llama 3's published template: every turn is a header, two line ends, the trimmed content,
// <|eot_id|>.
TEST(Chat, Llama3PrintsItsHeaders) {
  const Result<GraphDocument> document =
      read_graph(std::string(RT_SOURCE_DIR) + "/graphs/llama3.yaml");
  ASSERT_TRUE(document.ok()) << document.error().message;
  const Json messages = Json::parse(R"([{"role": "system", "content": "Be brief."},
    {"role": "user", "content": " Hi \n"}])");
  EXPECT_EQ(render(*document->chat, messages, true),
            "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n");
}

}  // namespace
}  // namespace rt
