// Generation and conversation on top of the step: stop conditions, streaming, cache reuse.
#include "core/engine/chat.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <optional>

#include "core/engine/generate.h"
#include "core/engine/model.h"
#include "core/memory/kv_forecast.h"
#include "tests/memory/scratch_folder.h"
#include "tests/support/models.h"

namespace rt::test {
namespace {

std::string folder() {
  return shared_path("models/tinystories656K");
}

// tinystories has no chat format of its own; its tokenizer knows <s> and </s>, which is enough for
// one made here.
class Conversation : public testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(folder())) GTEST_SKIP() << "no " << folder();
    EngineOptions options = exact_options("tinyllama.yaml", folder());
    options.max_sequences = 2;
    session_ = open_session(options);
    ASSERT_TRUE(session_);
    const Checkpoint& checkpoint = *session_->blueprint().checkpoint;
    auto text = load_text(session_->graph(), folder(), &checkpoint.config(),
                          checkpoint.generation_config());
    ASSERT_TRUE(text.ok()) << text.error().message;
    text_ = std::move(text).value();
    text_.chat = {};
    text_.chat.bos = "<s>";
    text_.chat.user = {"", " "};
    text_.chat.assistant = {"", "</s>"};
    text_.has_chat = true;
    options_.sampling = greedy();
    options_.max_new_tokens = 24;
  }

  std::unique_ptr<Chat> chat() {
    auto chat = Chat::start(*session_, text_, options_);
    EXPECT_TRUE(chat.ok());
    return std::move(chat).value();
  }

  std::string ask(Chat& chat, const std::string& message) {
    auto answer = chat.ask(message, {});
    EXPECT_TRUE(answer.ok()) << answer.error().message;
    return answer.ok() ? answer->text : "";
  }

  std::unique_ptr<Session> session_;
  ModelText text_;
  ChatOptions options_;
};

TEST_F(Conversation, ATurnEqualsTheSameTokensFromScratch) {
  options_.ignore_end = true;  // so that every answer has 24 tokens
  auto chat_ = chat();
  ask(*chat_, "Once upon a time there was a dog.");
  const std::string second = ask(*chat_, "The dog was happy.");
  // The prompt of the second turn, as the cache holds it, fed to a fresh sequence.
  const std::vector<std::int32_t> all = chat_->sequence().ids();
  auto fresh = start(*session_);
  const std::size_t answered = 24;
  const std::vector<std::int32_t> prompt(all.begin(), all.end() - answered);
  const auto ids = continue_greedy(*session_, *fresh, prompt, answered);
  EXPECT_EQ(ids, std::vector<std::int32_t>(all.end() - answered, all.end()));
  EXPECT_FALSE(second.empty());
}

TEST_F(Conversation, OnlyNewTokensArePrefilled) {
  auto chat_ = chat();
  ask(*chat_, "Once upon a time there was a dog.");
  const std::uint64_t held = chat_->sequence().cached();
  auto answer = chat_->ask("The dog was happy.", {});
  ASSERT_TRUE(answer.ok());
  EXPECT_EQ(answer->timings.cached_tokens, held);
  EXPECT_LT(answer->timings.prompt_tokens, 16u);
}

TEST_F(Conversation, UndoAndClearGoBackExactly) {
  auto chat_ = chat();
  const std::string first = ask(*chat_, "Once upon a time there was a dog.");
  const std::string second = ask(*chat_, "The dog was happy.");
  ASSERT_TRUE(chat_->undo().ok());
  EXPECT_EQ(ask(*chat_, "The dog was happy."), second);
  ASSERT_TRUE(chat_->clear().ok());
  EXPECT_EQ(session_->ledger().now()[MemoryKind::kKv], 0u);
  EXPECT_EQ(ask(*chat_, "Once upon a time there was a dog."), first);
}

// The weights have changed under the chat: nothing is computed with them, and nothing is lost.
TEST_F(Conversation, ARefusedSecondAnswerLeavesTheFirst) {
  rt_test::ScratchFolder copy;
  std::filesystem::copy(folder(), copy.path(), std::filesystem::copy_options::recursive);
  session_ = open_session(exact_options("tinyllama.yaml", copy.path()));
  ASSERT_TRUE(session_);
  auto chat_ = chat();
  ask(*chat_, "Once upon a time");
  ask(*chat_, "The dog was happy.");
  const std::vector<std::int32_t> ids = chat_->sequence().ids();
  const std::string last = chat_->messages().back().content;
  for (const auto& file : std::filesystem::directory_iterator(copy.path())) {
    if (file.path().extension() != ".safetensors") continue;
    std::filesystem::last_write_time(file, std::filesystem::file_time_type::clock::now());
  }
  EXPECT_FALSE(chat_->regenerate({}).ok());
  ASSERT_EQ(chat_->messages().size(), 4u);
  EXPECT_EQ(chat_->messages().back().content, last);
  EXPECT_EQ(chat_->sequence().ids(), ids);
  auto undone = chat_->undo();
  ASSERT_TRUE(undone.ok());
  EXPECT_TRUE(*undone);
  EXPECT_EQ(chat_->messages().size(), 2u);
}

TEST_F(Conversation, ARefusedConversationLeavesThePresentOne) {
  auto chat_ = chat();
  ask(*chat_, "Once upon a time");
  const std::vector<std::int32_t> ids = chat_->sequence().ids();
  const std::vector<ChatMessage> turns[] = {
      {{Role::kUser, "a"}},
      {{Role::kAssistant, "a"}, {Role::kUser, "b"}},
      {{Role::kUser, std::string(4000, 'a')}, {Role::kAssistant, "b"}}};
  for (const std::vector<ChatMessage>& wrong : turns) {
    EXPECT_FALSE(chat_->restore("", wrong).ok());
    EXPECT_EQ(chat_->messages().size(), 2u);
    EXPECT_EQ(chat_->sequence().ids(), ids);
  }
  const std::string next = ask(*chat_, "The dog was happy.");
  auto fresh = chat();
  ask(*fresh, "Once upon a time");
  EXPECT_EQ(ask(*fresh, "The dog was happy."), next);
}

// The ids of a saved conversation are those of its text: a reply encoded alone would begin with a
// space mark of its own, and its white space would not be a control token's.
TEST(Restored, AConversationHasTheTokensOfItsText) {
  const std::string folder = source_path("graphs/demo");
  auto session = open_session(exact_options("phi3.yaml", folder));
  ASSERT_TRUE(session);
  const Checkpoint& checkpoint = *session->blueprint().checkpoint;
  auto text =
      load_text(session->graph(), folder, &checkpoint.config(), checkpoint.generation_config());
  ASSERT_TRUE(text.ok()) << text.error().message;
  const std::vector<ChatMessage> turns = {{Role::kUser, "a "},
                                          {Role::kAssistant, " I am fine. "},
                                          {Role::kUser, " b"},
                                          {Role::kAssistant, "once\n"}};
  for (const bool trim : {false, true}) {
    for (const char* opening : {"<|end|>\n<|assistant|>\n", "<|end|>\nreply: "}) {
      text->chat.trim = trim;
      text->chat.user.suffix = opening;
      auto segments = render_chat(text->chat, turns, false);
      ASSERT_TRUE(segments.ok());
      segments->pop_back();  // the last reply's end, which comes with the next turn
      const auto whole = encode_chat(*text->tokenizer, *segments);
      ASSERT_TRUE(whole.ok());
      auto chat = Chat::start(*session, *text, {});
      ASSERT_TRUE(chat.ok());
      ASSERT_TRUE((*chat)->restore("", turns).ok());
      EXPECT_EQ((*chat)->sequence().ids(), *whole) << trim << opening;
      EXPECT_TRUE((*chat)->undo().ok());
      EXPECT_EQ((*chat)->messages().size(), 2u);
      const std::vector<std::int32_t>& left = (*chat)->sequence().ids();
      ASSERT_LT(left.size(), whole->size());
      EXPECT_TRUE(std::equal(left.begin(), left.end(), whole->begin()));
    }
  }
}

TEST_F(Conversation, AStreamShowsTheWholeTextInPieces) {
  auto chat_ = chat();
  std::string shown;
  auto answer = chat_->ask("Once upon a time", [&](std::string_view piece) {
    shown += piece;
    return true;
  });
  ASSERT_TRUE(answer.ok());
  EXPECT_EQ(shown, answer->text);
  EXPECT_EQ(answer->finish, Finish::kLength);
}

TEST_F(Conversation, CancelKeepsTheTextSoFar) {
  auto chat_ = chat();
  int pieces = 0;
  auto answer = chat_->ask("Once upon a time", [&](std::string_view) { return ++pieces < 5; });
  ASSERT_TRUE(answer.ok());
  EXPECT_EQ(answer->finish, Finish::kCancelled);
  EXPECT_FALSE(answer->text.empty());
  EXPECT_EQ(chat_->messages().size(), 2u);
}

// A prompt that is stopped before its answer begins, and one that is refused on the way: plan and
// ledger stay one number, then and after what follows.
TEST_F(Conversation, WhatAStoppedPromptHadComputedIsForecast) {
  std::string message = "Once upon a time there was a dog.";
  for (int i = 0; i < 5; ++i) message += " " + message;  // several chunks of 64 tokens
  for (const std::string& planner : registry().planner_names()) {
    EngineOptions options = exact_options("tinyllama.yaml", folder());
    options.planner = planner;
    session_ = open_session(options);
    ASSERT_TRUE(session_);
    auto chat_ = chat();
    std::vector<KvTurn> turns;
    const auto expect_planned = [&](const char* when) {
      const auto plan = forecast(*session_->blueprint().kv, turns);
      ASSERT_TRUE(plan.ok()) << plan.error().message;
      const Ledger& ledger = session_->ledger();
      EXPECT_EQ(plan->standing_bytes, ledger.now()[MemoryKind::kKv]) << planner << " " << when;
      EXPECT_EQ(plan->peak_bytes, ledger.peak()[MemoryKind::kKv]) << planner << " " << when;
    };
    int steps = 0;
    const auto stopped = chat_->ask(message, [&](std::string_view) { return ++steps < 2; });
    ASSERT_TRUE(stopped.ok()) << stopped.error().message;
    EXPECT_EQ(stopped->timings.new_tokens, 0u);
    EXPECT_EQ(stopped->cached_tokens, 128u);
    const std::uint64_t prompt = stopped->timings.prompt_tokens;
    KvTurn turn;
    turn.prompt_tokens = prompt;
    turn.new_tokens = 0;
    turn.unused_tokens = *options_.max_new_tokens;
    turn.stopped_at = stopped->cached_tokens;
    turns.push_back(turn);
    expect_planned("stopped");
    const auto next = chat_->ask("The dog was happy.", {});
    ASSERT_TRUE(next.ok()) << next.error().message;
    turn = {};
    turn.keep = next->held_tokens;
    turn.prompt_tokens =
        next->timings.prompt_tokens + next->timings.cached_tokens - next->held_tokens;
    turn.new_tokens = next->timings.new_tokens;
    turn.unused_tokens = *options_.max_new_tokens - turn.new_tokens;
    turns.push_back(turn);
    expect_planned("answered");
  }
}

// A turn that the limit refuses half way says how far it came.
TEST_F(Conversation, ARefusedTurnSaysHowFarItCame) {
  std::string message = "Once upon a time there was a dog.";
  for (int i = 0; i < 5; ++i) message += " " + message;
  EngineOptions options = exact_options("tinyllama.yaml", folder());
  auto blueprint = draw(registry(), options);
  ASSERT_TRUE(blueprint.ok());
  options.memory_limit_bytes = (*blueprint)->memory(100, 0, true)->owned();
  session_ = open_session(options);
  ASSERT_TRUE(session_);
  auto chat_ = chat();
  const auto refused = chat_->ask(message, {});
  ASSERT_FALSE(refused.ok());
  ASSERT_TRUE(chat_->refused().has_value());
  EXPECT_EQ(chat_->refused()->cached_tokens % 64, 0u);  // whole chunks
  EXPECT_GE(chat_->refused()->cached_tokens, 64u);
  EXPECT_LT(chat_->refused()->cached_tokens, chat_->refused()->timings.prompt_tokens);
  EXPECT_EQ(session_->ledger().now()[MemoryKind::kKv], 0u);
  KvTurn turn;
  turn.prompt_tokens = chat_->refused()->timings.prompt_tokens;
  turn.unused_tokens = *options_.max_new_tokens;
  turn.stopped_at = chat_->refused()->cached_tokens;
  KvTurn rewind;
  rewind.keep = 0;
  const KvTurn turns[] = {turn, rewind};
  const auto plan = forecast(*session_->blueprint().kv, turns);
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->peak_bytes, session_->ledger().peak()[MemoryKind::kKv]);
  EXPECT_EQ(plan->standing_bytes, 0u);
}

TEST_F(Conversation, AFullContextIsReportedAndChangesNothing) {
  options_.max_new_tokens.reset();
  options_.ignore_end = true;
  auto chat_ = chat();
  auto answer = chat_->ask("Once upon a time", {});
  ASSERT_TRUE(answer.ok());
  EXPECT_EQ(answer->finish, Finish::kLength);
  EXPECT_EQ(chat_->sequence().ids().size(), session_->context_tokens());
  auto refused = chat_->ask("And then?", {});
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().fault, Fault::kBadInput);
  EXPECT_EQ(chat_->messages().size(), 2u);
  EXPECT_EQ(chat_->sequence().ids().size(), session_->context_tokens());
}

TEST_F(Conversation, AStopStringCutsTheText) {
  auto whole_chat = chat();
  const std::string whole = ask(*whole_chat, "Once upon a time");
  whole_chat.reset();
  const std::string stop = whole.substr(whole.size() / 2, 4);
  options_.stop = {stop};
  auto cut_chat = chat();
  auto cut = cut_chat->ask("Once upon a time", {});
  ASSERT_TRUE(cut.ok());
  EXPECT_EQ(cut->finish, Finish::kStop);
  EXPECT_EQ(cut->text, whole.substr(0, whole.find(stop)));
}

TEST_F(Conversation, ASystemPromptWhereTheModelHasNoneIsRefused) {
  options_.system = "Be brief.";
  auto refused = Chat::start(*session_, text_, options_);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("no system role"), std::string::npos);
}

TEST_F(Conversation, TheSameSeedDrawsTheSameText) {
  options_.sampling = Sampling{};
  options_.sampling.seed = 7;
  std::string texts[3];
  for (int i = 0; i < 3; ++i) {
    if (i == 2) options_.sampling.seed = 8;
    auto chat_ = chat();
    texts[i] = ask(*chat_, "Once upon a time");
  }
  EXPECT_EQ(texts[0], texts[1]);
  EXPECT_NE(texts[0], texts[2]);
}

TEST_F(Conversation, AnOpenBudgetEndsAtTheMemoryLimit) {
  EngineOptions options = exact_options("tinyllama.yaml", folder());
  auto blueprint = draw(registry(), options);
  ASSERT_TRUE(blueprint.ok());
  auto need = (*blueprint)->memory(200, 0, true);
  ASSERT_TRUE(need.ok());
  options.memory_limit_bytes = need->owned();
  auto session = open_session(options);
  ASSERT_TRUE(session);
  auto sequence = start(*session);
  // A chat's -n bounds an answer and is nothing that was admitted: the text so far stays.
  for (const std::optional<std::uint64_t> most : {std::optional<std::uint64_t>(), {400}}) {
    ASSERT_TRUE(sequence->truncate(0).ok());
    GenerateRequest request;
    request.prompt = {1};
    request.max_new_tokens = most;
    request.sampling = greedy();
    auto generation = Generation::begin(*sequence, nullptr, request, *session);
    ASSERT_TRUE(generation.ok());
    Generation* const one[] = {&*generation};
    while (!generation->finished()) ASSERT_TRUE(advance(*session, one).ok());
    EXPECT_EQ(generation->finish(), Finish::kMemory);
    EXPECT_GE(generation->ids().size(), 199u);
    EXPECT_LE(session->ledger().peak_owned(), options.memory_limit_bytes);
  }
}

}  // namespace
}  // namespace rt::test
