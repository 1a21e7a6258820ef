// A crash while a plugin runs is told with its name, and stays a crash.
#include "core/base/call_site.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <cstdlib>
#include <thread>

namespace rt {
namespace {

TEST(CallSite, Text) {
  EXPECT_EQ((CallSite{"acme/flash", "execute", "layer.3.attention"}).text(),
            "acme/flash, node 'layer.3.attention': execute");
  EXPECT_EQ((CallSite{"planner roomy", "plan", {}}).text(), "planner roomy: plan");
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
using CrashDeathTest = testing::Test;

TEST_F(CrashDeathTest, NamesThePlugin) {
  const auto crash = [] {
    report_crashes();
    const CallSite site{"acme/flash", "execute", "layer.3\x1b[31m"};
    const RunningCall running(site);
    ::raise(SIGSEGV);
  };
  EXPECT_EXIT(crash(), testing::KilledBySignal(SIGSEGV),
              "acme/flash, node 'layer.3.\\[31m': execute: crashed with SIGSEGV");
}

TEST_F(CrashDeathTest, NamesTheLatestFromAnotherThread) {
  const auto crash = [] {
    report_crashes();
    const CallSite site{"acme/flash", "execute", "n"};
    const RunningCall running(site);
    std::thread([] { std::abort(); }).join();
  };
  EXPECT_EXIT(crash(), testing::KilledBySignal(SIGABRT),
              "acme/flash, node 'n': execute: the process crashed in it, or beside it");
}

TEST_F(CrashDeathTest, SaysNothingOutsidePlugins) {
  const auto crash = [] {
    report_crashes();
    {
      const CallSite site{"acme/flash", "execute", "n"};
      const RunningCall running(site);
    }
    ::raise(SIGSEGV);
  };
  EXPECT_EXIT(crash(), testing::KilledBySignal(SIGSEGV), "^$");
}
#endif

}  // namespace
}  // namespace rt
