// The conformance test must catch what it is for: implementations of `add`, each wrong in one way.
#include <gtest/gtest.h>

#include "core/sdk/sdk.hpp"
#include "tests/operators/plugin_file.h"
#include "tools/conformance/cases.h"
#include "tools/conformance/verdict.h"

namespace rt::test {
namespace {

// out[r, d] = a + b for a range of rows, right.
struct Right {
  explicit Right(const sdk::Node&) {}
  static void rows(const sdk::Call& call, std::uint64_t begin, std::uint64_t end) {
    const std::uint64_t D = static_cast<std::uint64_t>(call.output(0).shape[1]);
    for (std::uint64_t i = begin * D; i < end * D; ++i) {
      call.out<float>(0)[i] = call.in<float>(0)[i] + call.in<float>(1)[i];
    }
  }
  static std::uint64_t count(const sdk::Call& call) {
    return static_cast<std::uint64_t>(call.output(0).shape[0]);
  }
  static std::uint64_t elements(const sdk::Call& call) {
    return count(call) * static_cast<std::uint64_t>(call.output(0).shape[1]);
  }
  void execute(const sdk::Call& call) {
    call.parallel_for(count(call), 1, [&](std::uint64_t begin, std::uint64_t end, std::uint32_t) {
      rows(call, begin, end);
    });
  }
};
struct Inaccurate : Right {
  using Right::Right;
  void execute(const sdk::Call& call) {
    Right::execute(call);
    call.out<float>(0)[elements(call) - 1] *= 1.001f;
  }
};
struct LeavesTheLastRow : Right {
  using Right::Right;
  void execute(const sdk::Call& call) { rows(call, 0, count(call) - 1); }
};
struct WritesBeyond : Right {
  using Right::Right;
  void execute(const sdk::Call& call) {
    Right::execute(call);
    if (elements(call) % 16 != 0) call.out<float>(0)[elements(call)] = 0;
  }
};
struct ChangesItsInput : Right {
  using Right::Right;
  void execute(const sdk::Call& call) {
    Right::execute(call);
    static_cast<float*>(call.input(1).data)[0] = 0;
  }
};
struct KeepsState : Right {
  using Right::Right;
  void execute(const sdk::Call& call) {
    Right::execute(call);
    call.out<float>(0)[0] *= 1 + 1e-7f * static_cast<float>(++calls);
  }
  int calls = 0;
};
struct MindsTheSplit : Right {
  using Right::Right;
  void execute(const sdk::Call& call) {
    call.parallel_for(count(call), 1, [&](std::uint64_t begin, std::uint64_t end, std::uint32_t) {
      rows(call, begin, end);
      if (end - begin > 1) call.out<float>(0)[0] *= 1 + 1.2e-7f;
    });
  }
};
struct MindsTheWorker : Right {
  using Right::Right;
  void execute(const sdk::Call& call) {
    call.parallel_for(count(call), 1,
                      [&](std::uint64_t begin, std::uint64_t end, std::uint32_t worker) {
                        rows(call, begin, end);
                        if (worker == 1) call.out<float>(0)[begin] *= 1 + 1.2e-7f;
                      });
  }
};
struct MindsItsNeighbours : Right {
  using Right::Right;
  void execute(const sdk::Call& call) {
    Right::execute(call);
    if (call.step().sequences > 1) call.out<float>(0)[0] *= 1 + 1.2e-7f;
  }
};
struct RefusesLate : Right {
  using Right::Right;
  void execute(const sdk::Call&) { throw sdk::Refusal("not today"); }
};
struct RefusesSilently : Right {
  using Right::Right;
  static void supports(const sdk::Node&) { throw sdk::Refusal(""); }
};
struct NeedsWorkspace : Right {
  using Right::Right;
  static void require(const sdk::Node&, rt_requirements& need) { need.workspace_bytes = 100; }
  void execute(const sdk::Call& call) {
    Right::execute(call);
    call.workspace<unsigned char>()[100] = 1;
  }
};

struct Row {
  const char* name;
  rt_implementation implementation;
  const char* complaint;  // "" for none
};

template <class Op>
Row row(const char* name, const char* complaint) {
  return {name, sdk::implementation<Op>({.op = "add", .name = "test", .device_kind = "cpu"}),
          complaint};
}

TEST(ConformanceItself, CatchesEachMistake) {
  const std::vector<Row> rows = {
      row<Right>("right", ""),
      row<Inaccurate>("inaccurate", "against the reference: output 0 [16, 6]"),
      row<LeavesTheLastRow>("leaves the last row", "nan, expected"),
      row<WritesBeyond>("writes beyond", "memory: a write beyond an output"),
      row<ChangesItsInput>("changes its input", "memory: input 1 was changed"),
      row<KeepsState>("keeps state", "memory: a second call gives other results"),
      row<MindsTheSplit>("minds the split", "2 workers, ranges shuffled: output 0"),
      row<MindsTheWorker>("minds the worker", "workers, ranges shuffled: output 0"),
      row<MindsItsNeighbours>("minds its neighbours", "sequence 0 alone and in the batch: output"),
      row<RefusesLate>("refuses late", "refuses only at execute: not today"),
      row<RefusesSilently>("refuses silently", "refuses without a reason"),
      row<NeedsWorkspace>("leaves its workspace", "memory: a write beyond the workspace"),
  };
  const std::vector<Problem> problems = cases("add");
  const auto problem = std::find_if(problems.begin(), problems.end(), [](const Problem& p) {
    return p.tokens() == 17 && p.inputs[0].shape[1] == 7;
  });
  ASSERT_NE(problem, problems.end());
  for (const Row& r : rows) {
    SCOPED_TRACE(r.name);
    const Verdict verdict =
        judge(*find_contract("add"), r.implementation, *problem, RT_STEP_DECODE, true);
    std::string all;
    for (const std::string& complaint : verdict.complaints) all += complaint + "\n";
    if (*r.complaint == '\0') {
      EXPECT_EQ(all, "");
    } else {
      EXPECT_NE(all.find(r.complaint), std::string::npos) << "complaints: " << all;
    }
  }
}

struct ReadsBeyond : Right {
  using Right::Right;
  void execute(const sdk::Call& call) {
    Right::execute(call);
    call.out<float>(0)[0] +=
        *static_cast<volatile const float*>(call.in<float>(0) + (elements(call) + 15) / 16 * 16);
  }
};

TEST(ConformanceItself, ReadsBeyondAnInputDie) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const rt_implementation bad =
      sdk::implementation<ReadsBeyond>({.op = "add", .name = "test", .device_kind = "cpu"});
  const std::vector<Problem> problems = cases("add");
  EXPECT_DEATH(judge(*find_contract("add"), bad, problems[0], RT_STEP_DECODE, false), "");
}

}  // namespace
}  // namespace rt::test
