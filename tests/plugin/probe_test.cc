// Trial runs in a child, and the one way to call into a plugin.
#include "core/plugin/probe.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <stdexcept>
#include <vector>

#include "core/plugin/host.h"
#include "scene.h"

namespace rt {
namespace {

using test::Scene;

std::string message_of(const Status& status) {
  return status.ok() ? "" : status.error().message;
}

TEST(Probe, SuccessAndRefusalComeBack) {
  int touched = 0;
  EXPECT_TRUE(probe("x", [&]() -> Status {
                ++touched;
                return in_probe() ? Status() : Status(internal("not in a probe"));
              }).ok());
  EXPECT_EQ(touched, 0);  // the child's memory is its own
  EXPECT_FALSE(in_probe());
  const Status bad = probe("x", [] { return Status(bad_input("expected 1, found 2")); });
  EXPECT_EQ(message_of(bad), "expected 1, found 2");
  EXPECT_EQ(bad.error().fault, Fault::kBadInput);
  EXPECT_EQ(probe("x", [] { return Status(environment("full")); }).error().fault,
            Fault::kEnvironment);
  EXPECT_EQ(probe("x", [] { return Status(internal("odd")); }).error().fault, Fault::kInternal);
}

TEST(Probe, DeathsAreSentences) {
  EXPECT_EQ(message_of(probe("x",
                             []() -> Status {
                               ::raise(SIGSEGV);
                               return {};
                             })),
            "x: crashed with SIGSEGV in a trial run; it is not used");
  EXPECT_EQ(message_of(probe("x", []() -> Status { std::abort(); })),
            "x: crashed with SIGABRT in a trial run; it is not used");
  EXPECT_EQ(message_of(probe("x", []() -> Status { ::_exit(5); })),
            "x: ended with exit code 5 and no answer in a trial run; it is not used");
  EXPECT_EQ(message_of(probe("x", []() -> Status { throw std::runtime_error("boom"); })),
            "it let an exception out");
}

TEST(Probe, TheLastLineOfADeathIsTold) {
  const Status dead = probe("x", [] {
    ::dprintf(STDERR_FILENO, "first line\n  what(): \x1b[31mboom\n\n");
    ::raise(SIGABRT);
    return Status();
  });
  EXPECT_NE(message_of(dead).find("crashed with SIGABRT in a trial run; the last it said is "
                                  "'what(): \\x1b[31mboom'; it is not used"),
            std::string::npos)
      << message_of(dead);
}

TEST(Probe, NeedsNoneOfTheStandardThree) {
  const int kept = ::dup(STDOUT_FILENO);
  ::close(STDOUT_FILENO);
  const Status bad = probe("x", [] { return Status(bad_input("expected 1, found 2")); });
  ::dup2(kept, STDOUT_FILENO);
  ::close(kept);
  EXPECT_EQ(message_of(bad), "expected 1, found 2");
}

TEST(Probe, HangsEndAtTheLimit) {
  ProbeLimits limits;
  limits.time = std::chrono::milliseconds(150);
  const auto begin = std::chrono::steady_clock::now();
  const Status status = probe(
      "x",
      []() -> Status {
        for (;;) ::pause();
      },
      limits);
  const auto took = std::chrono::steady_clock::now() - begin;
  EXPECT_EQ(message_of(status), "x: gave no answer within 150 ms in a trial run; it is not used");
  EXPECT_LT(took, std::chrono::seconds(60));
}

TEST(Probe, MemoryIsLimited) {
  ProbeLimits limits;
  limits.memory_bytes = 64ull << 20;
  const Status status = probe(
      "x",
      []() -> Status {
        void* address = ::mmap(nullptr, 256ull << 20, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        return address == MAP_FAILED ? Status(bad_input("no memory")) : Status();
      },
      limits);
  EXPECT_EQ(message_of(status), "no memory");
}

TEST(Probe, LongAnswersAreCut) {
  const Status status = probe("x", [] { return Status(bad_input(std::string(1'000'000, 'a'))); });
  EXPECT_EQ(message_of(status), std::string(4095, 'a'));
}

class PlannerTrial : public testing::Test {
 protected:
  // What a trial run of the planner's plan() says, as whoever wants its answer starts one.
  std::string trial(const std::string& name) {
    const Scene scene;
    scene.copy(name, scene.extra());
    auto registry = scene.scan();
    const auto planner = registry->planner("roomy");
    if (!planner.ok()) return planner.error().message;
    rt_plan_problem problem{};
    problem.struct_size = sizeof problem;
    problem.context_tokens = 128;
    rt_plan_sink sink{};
    sink.struct_size = sizeof sink;
    sink.explain = [](rt_plan_sink*, const char*) {};
    ProbeLimits limits;
    limits.time = std::chrono::milliseconds(500);
    const auto plan = [&] {
      return call_plugin({planner->full_name, "plan", ""},
                         [&] { return planner->c->plan(planner->host, &problem, &sink); });
    };
    return message_of(probe("planner " + planner->full_name, plan, limits));
  }
};

TEST_F(PlannerTrial, GoodAndBad) {
  EXPECT_EQ(trial("roomy"), "");
  EXPECT_EQ(trial("hang_in_planner"),
            "planner hang_in_planner/roomy: gave no answer within 500 ms in a trial run; it is not "
            "used");
  EXPECT_EQ(trial("crash_in_planner"),
            "planner crash_in_planner/roomy: crashed with SIGSEGV in a trial run; it is not used");
  EXPECT_EQ(trial("refuse_in_planner"),
            "refuse_in_planner/roomy: plan: expected one sequence, found 4");
  EXPECT_EQ(
      trial("silent_in_planner"),
      "silent_in_planner/roomy: plan returned status 13, which does not exist, without saying "
      "why");
}

TEST(Host, StatusesBecomeErrors) {
  const PluginHost host("acme");
  const rt_host* c = host.c();
  const CallSite site{"acme/flash", "execute", "layer.3.attention"};
  const auto call = [&](rt_status status, const char* text) {
    return call_plugin(site, [&] { return text == nullptr ? status : c->fail(c, status, text); });
  };
  EXPECT_TRUE(call(RT_OK, nullptr).ok());
  const Status refused = call(RT_UNSUPPORTED, "expected head_width <= 256, found 320");
  EXPECT_EQ(refused.error().message,
            "acme/flash, node 'layer.3.attention': execute: expected head_width <= 256, found 320");
  EXPECT_EQ(refused.error().fault, Fault::kBadInput);
  EXPECT_EQ(call(RT_NO_MEMORY, nullptr).error().fault, Fault::kEnvironment);
  EXPECT_EQ(call(RT_DEVICE_FAULT, nullptr).error().message,
            "acme/flash, node 'layer.3.attention': execute returned RT_DEVICE_FAULT without saying "
            "why");
  EXPECT_EQ(call(RT_INTERNAL, nullptr).error().fault, Fault::kInternal);
  EXPECT_EQ(call(RT_INVALID, nullptr).error().fault, Fault::kBadInput);
  EXPECT_EQ(
      call(99, nullptr).error().message,
      "acme/flash, node 'layer.3.attention': execute returned status 99, which does not exist, "
      "without saying why");
  EXPECT_FALSE(call(RT_OK, "failed, and says it did not").ok());
  EXPECT_EQ(status_text(RT_OK), "RT_OK");
}

TEST(Host, TextCannotSteerATerminal) {
  const PluginHost host("acme");
  const CallSite site{"acme/flash", "execute", "n"};
  const Status bad =
      call_plugin(site, [&] { return host.c()->fail(host.c(), RT_INVALID, "a\x1b[31m\nb"); });
  EXPECT_EQ(message_of(bad), "acme/flash, node 'n': execute: a?[31m b");
}

TEST(Host, ExceptionsStopAtTheBoundary) {
  const Status known = call_plugin({"acme/flash", "create", ""},
                                   []() -> rt_status { throw std::runtime_error("boom"); });
  EXPECT_EQ(known.error().message,
            "acme/flash: create let an exception out, which no plugin may do: boom");
  const Status unknown = call_plugin({"acme/flash", "create", ""}, []() -> rt_status { throw 7; });
  EXPECT_EQ(unknown.error().message,
            "acme/flash: create let an exception out, which no plugin may do");
}

TEST(Host, TextIsPerCallAndBounded) {
  const PluginHost host("acme");
  const rt_host* c = host.c();
  c->fail(c, RT_INVALID, std::string(100'000, 'x').c_str());
  EXPECT_EQ(last_fail_text().size(), kFailTextLimitBytes);
  EXPECT_EQ(take_fail_text().size(), kFailTextLimitBytes);
  EXPECT_EQ(take_fail_text(), "");
  c->fail(c, RT_INVALID, "old");
  c->fail(c, RT_INVALID, nullptr);
  EXPECT_EQ(last_fail_text(), "");
  EXPECT_EQ(c->extension(c, "rt.trace/1"), nullptr);
  EXPECT_EQ(c->struct_size, sizeof(rt_host));
  for (const rt_log_level level : {RT_LOG_DEBUG, RT_LOG_INFO, RT_LOG_WARN, RT_LOG_ERROR}) {
    c->log(c, level, "{} is not a format here");
  }
  c->log(c, RT_LOG_INFO, nullptr);
  c->log(nullptr, RT_LOG_INFO, "from nobody");
}

}  // namespace
}  // namespace rt
