// bench: what it is asked, what it prints, and that its counts are those of the graph. No time is
// asserted. And the comparison with llama.cpp, against a stand-in for its program.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdio>
#include <fstream>
#include <map>
#include <sstream>

#include "core/base/json.h"
#include "tests/tools/command.h"

namespace rt::test {
namespace {

CommandResult bench(std::vector<std::string> rest) {
  rest.insert(rest.end(), {"-t", "1"});
  return run_command(arguments("bench", demo_model(), rest));
}

Json bench_json(std::vector<std::string> rest) {
  rest.insert(rest.end(), {"-o", "json"});
  const CommandResult result = bench(std::move(rest));
  EXPECT_EQ(result.exit_code, 0) << result.err;
  auto json = parse_json(result.out, "stdout");
  EXPECT_TRUE(json.ok()) << result.out;
  return json.ok() ? std::move(json).value() : Json::array();
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

std::size_t count_of(const std::string& text, char wanted) {
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), wanted));
}

TEST(Bench, MeasuresEveryCombination) {
  const Json rows = bench_json({"-p", "16,0", "-n", "3", "-pg", "9,2", "-d", "0,20", "-r", "2",
                                "--kv-dtype", "bf16,int8", "--no-probe"});
  std::vector<std::string> names;
  for (const Json& row : rows) {
    names.push_back(row.at("kv_dtype").get<std::string>() + " " +
                    row.at("test").get<std::string>());
  }
  EXPECT_EQ(names, (std::vector<std::string>{
                       "bf16 pp16", "bf16 tg3", "bf16 pp9+tg2", "bf16 pp16 @ d20", "bf16 tg3 @ d20",
                       "bf16 pp9+tg2 @ d20", "int8 pp16", "int8 tg3", "int8 pp9+tg2",
                       "int8 pp16 @ d20", "int8 tg3 @ d20", "int8 pp9+tg2 @ d20"}));
}

TEST(Bench, SaysEverythingInJson) {
  const Json rows = bench_json({"-p", "16", "-n", "4", "-r", "3", "--probe", "4MiB"});
  ASSERT_EQ(rows.size(), 2u);
  for (const Json& row : rows) {
    for (const char* key : {"model",         "model_size", "model_n_params", "weights_format",
                            "kv_dtype",      "planner",    "device",         "device_name",
                            "n_threads",     "n_ubatch",   "test",           "n_prompt",
                            "n_gen",         "n_depth",    "avg_ns",         "stddev_ns",
                            "avg_ts",        "stddev_ts",  "median_ts",      "min_ts",
                            "max_ts",        "samples_ns", "samples_ts",     "weight_bytes_read",
                            "kv_bytes_read", "bytes_read", "flops",          "of_read",
                            "of_f32",        "of_bf16",    "of_int8",        "peak_bytes",
                            "captures",      "probe"}) {
      EXPECT_TRUE(row.contains(key)) << key;
    }
    EXPECT_EQ(row.at("samples_ts").size(), 3u);
    EXPECT_EQ(row.at("probe").at("read_bytes_per_second").size(), 3u);
    EXPECT_EQ(row.at("probe").at("f32_flops_per_second").size(), 3u);
    EXPECT_GT(row.at("of_read"), 0);
    EXPECT_LE(row.at("min_ts"), row.at("median_ts"));
    EXPECT_LE(row.at("median_ts"), row.at("max_ts"));
    EXPECT_EQ(row.at("weights_format"), "bf16");
    EXPECT_EQ(row.at("planner"), "elastic");
    EXPECT_EQ(row.at("n_threads"), 1);
  }
  // The demo model (graphs/demo/README.md): 6 layers, one kv head of 64. 4 tokens see 1 to 4 keys.
  EXPECT_EQ(rows[1].at("kv_bytes_read"), (1 + 2 + 3 + 4) * 6 * 2 * 64 * 2);
}

TEST(Bench, CountsEveryCallOfEveryOperator) {
  const Json rows = bench_json({"-p", "0", "-n", "4", "-r", "1", "--ops", "--no-probe"});
  ASSERT_EQ(rows.size(), 1u);
  const Json& ops = rows[0].at("ops");
  std::map<std::string, std::uint64_t> calls;
  double seconds = ops.at("between_nodes");
  std::uint64_t weight_bytes = 0;
  std::uint64_t all = 0;
  for (const Json& row : ops.at("operators")) {
    calls[row.at("op")] += row.at("calls").get<std::uint64_t>();
    seconds += row.at("seconds").get<double>();
    weight_bytes += row.at("weight_bytes").get<std::uint64_t>();
    EXPECT_EQ(row.at("step"), "decode");
  }
  EXPECT_NEAR(seconds, ops.at("seconds"), 1e-6) << "nodes and what is between them are the whole";
  EXPECT_EQ(weight_bytes, rows[0].at("weight_bytes_read"));

  const CommandResult graph = run_command(arguments("graph", {"expand"}, demo_model()));
  ASSERT_EQ(graph.exit_code, 0) << graph.err;
  ASSERT_GT(calls.size(), 5u);
  for (const auto& [op, count] : calls) {
    std::uint64_t nodes = 0;
    const std::string node = "op: " + op + "@";
    for (std::size_t at = graph.out.find(node); at != std::string::npos;
         at = graph.out.find(node, at + 1)) {
      ++nodes;
    }
    EXPECT_EQ(count, 4 * nodes) << op;
    all += nodes;
  }
  EXPECT_NE(graph.out.find(std::to_string(all) + " nodes"), std::string::npos) << all;
}

// Greedy unless the command line says how to draw; the sampler is then called as often.
TEST(Bench, DrawsAsTold) {
  const Json rows = bench_json({"-p", "0", "-n", "4", "-r", "1", "--ops", "--no-probe", "--temp",
                                "0.8", "--top-k", "40", "--top-p", "0.95"});
  ASSERT_EQ(rows.size(), 1u);
  std::uint64_t calls = 0;
  for (const Json& row : rows[0].at("ops").at("operators")) {
    if (row.at("op") == "sample") calls += row.at("calls").get<std::uint64_t>();
  }
  EXPECT_EQ(calls, 4u);
}

// A fused node is a row of its own, and its bytes are its parts'.
TEST(Bench, NamesFusedOperators) {
  const auto bytes_with = [](const std::string& fuse) {
    const Json rows = bench_json({"-p", "0", "-n", "2", "-r", "1", "--ops", "--no-probe",
                                  "--plugin", RT_BINARY_DIR "/tests/strangers/acme_fused.rtp.so",
                                  "--prefer", "acme_fused", "--set", "operators.fuse=" + fuse});
    std::map<std::string, std::uint64_t> bytes;
    for (const Json& row : rows.at(0).at("ops").at("operators")) {
      bytes[row.at("op")] += row.at("weight_bytes").get<std::uint64_t>();
    }
    return bytes;
  };
  auto apart = bytes_with("false");
  auto fused = bytes_with("true");
  EXPECT_GT(fused["acme.linear_add"], 0u);
  EXPECT_EQ(fused["linear"] + fused["acme.linear_add"], apart["linear"]);
}

TEST(Bench, PrintsTables) {
  const CommandResult md = bench({"-p", "8", "-n", "2", "-r", "1", "--ops", "--probe", "4MiB"});
  ASSERT_EQ(md.exit_code, 0) << md.err;
  const auto lines = lines_of(md.out);
  ASSERT_GE(lines.size(), 6u) << md.out;
  EXPECT_TRUE(lines[0].starts_with("| model ")) << md.out;
  EXPECT_TRUE(lines[1].starts_with("|---")) << md.out;
  for (int i = 1; i < 4; ++i) EXPECT_EQ(count_of(lines[i], '|'), count_of(lines[0], '|'));
  EXPECT_NE(md.out.find("| operator "), std::string::npos) << md.out;
  EXPECT_NE(md.out.find("between nodes"), std::string::npos) << md.out;

  const CommandResult csv = bench({"-p", "8", "-n", "2", "-r", "1", "-o", "csv", "--no-probe"});
  ASSERT_EQ(csv.exit_code, 0) << csv.err;
  const auto rows = lines_of(csv.out);
  ASSERT_EQ(rows.size(), 3u) << csv.out;
  EXPECT_NE(rows[0].find("median_ts"), std::string::npos);
  EXPECT_EQ(count_of(rows[1], ','), count_of(rows[0], ',')) << csv.out;

  const CommandResult jsonl = bench({"-p", "8", "-n", "2", "-r", "1", "-o", "jsonl", "--no-probe"});
  ASSERT_EQ(jsonl.exit_code, 0) << jsonl.err;
  for (const std::string& line : lines_of(jsonl.out)) EXPECT_TRUE(parse_json(line, "line").ok());
}

TEST(Bench, ComparesWeightFormats) {
  const Json rows = bench_json({"-p", "0", "-n", "1", "-r", "1", "--no-probe", "--weights-format",
                                "auto,int8", "--weights-format", "linear=nf4,lm_head=int8"});
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].at("weights_format"), "bf16");
  EXPECT_EQ(rows[1].at("weights_format"), "int8");
  EXPECT_EQ(rows[2].at("weights_format"), "linear=nf4,lm_head=int8");
  EXPECT_LT(rows[1].at("bytes_read"), rows[0].at("bytes_read"));
  EXPECT_EQ(rows[0].at("flops"), rows[2].at("flops")) << "the same products whatever they are of";
}

TEST(Bench, ProbesNothingIfNotAsked) {
  const Json rows = bench_json({"-p", "0", "-n", "1", "-r", "1", "--no-probe", "--no-warmup"});
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_TRUE(rows[0].at("of_read").is_null());
  EXPECT_TRUE(rows[0].at("probe").at("read_bytes_per_second").empty());
}

// What a ring of the demo model's window (256) has overwritten is computed again, uncounted.
TEST(Bench, ReturnsToADepthBehindTheWindow) {
  const Json rows = bench_json({"-p", "64", "-n", "2", "-d", "400", "-r", "2", "--no-probe"});
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].at("samples_ts").size(), 2u);
}

std::string refusal(const std::vector<std::string>& rest) {
  const CommandResult result = run_command(arguments("bench", demo_model(), rest));
  EXPECT_EQ(result.exit_code, 2) << result.out << result.err;
  EXPECT_EQ(result.out, "");
  return result.err;
}

TEST(Bench, RefusesWhatItCannotMean) {
  EXPECT_NE(refusal({"-p", "12,x"}).find("--n-prompt: expected whole numbers"), std::string::npos);
  EXPECT_NE(refusal({"-p", "12,,3"}).find("--n-prompt"), std::string::npos);
  EXPECT_NE(refusal({"-n", "-1"}).find("--n-gen"), std::string::npos);
  EXPECT_NE(refusal({"-d", "99999999999999999999"}).find("--n-depth"), std::string::npos);
  EXPECT_NE(refusal({"-pg", "5"}).find("--prompt-gen: expected PROMPT,GENERATED"),
            std::string::npos);
  EXPECT_NE(refusal({"-t", "1,two"}).find("--threads"), std::string::npos);
  EXPECT_NE(refusal({"-r", "0"}).find("--repetitions"), std::string::npos);
  EXPECT_NE(refusal({"-p", "0", "-n", "0"}).find("nothing to measure"), std::string::npos);
  EXPECT_NE(refusal({"-o", "jsn"}).find("did you mean 'json'"), std::string::npos);
  EXPECT_NE(refusal({"-o", "csv", "--ops"}).find("--ops"), std::string::npos);
  EXPECT_NE(refusal({"--kv-dtype", "bf16,int9"}).find("--kv-dtype"), std::string::npos);
  EXPECT_NE(refusal({"--weights-format", "bf16,"}).find("--weights-format"), std::string::npos);
  EXPECT_NE(refusal({"--planner", "elastick"}).find("elastic"), std::string::npos);
  EXPECT_NE(refusal({"-d", "1000000"}).find("do not fit in the model's context"),
            std::string::npos);
}

TEST(Bench, TracesOperatorsWithinSteps) {
  const TemporaryFolder folder;
  const std::string path = folder.path("trace.json");
  const CommandResult result = bench(
      {"-p", "0", "-n", "2", "-r", "1", "--no-warmup", "--no-probe", "--ops", "--trace", path});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto json = read_json(path, 64 << 20);
  ASSERT_TRUE(json.ok()) << json.error().message;
  struct Slice {
    double begin, end;
  };
  std::vector<Slice> steps, nodes;
  for (const Json& event : json->at("traceEvents")) {
    if (event.at("ph") != "X") continue;
    const double begin = event.at("ts");
    (event.at("cat") == "node" ? nodes : steps)
        .push_back({begin, begin + event.at("dur").get<double>()});
  }
  EXPECT_EQ(steps.size(), 2u + 2u) << "one repetition, and one more that is observed";
  ASSERT_FALSE(nodes.empty());
  EXPECT_EQ(nodes.size() % 2, 0u);
  for (const Slice& node : nodes) {
    EXPECT_TRUE(std::any_of(steps.begin(), steps.end(), [&](const Slice& step) {
      return step.begin <= node.begin + 1e-3 && node.end <= step.end + 1e-3;
    }));
  }
}

TEST(Bench, OperatorsOfARunNeedATrace) {
  const CommandResult result =
      run_command(arguments("generate", demo_model(), {"-p", "Once", "-n", "2", "--ops"}));
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_NE(result.err.find("give --trace FILE"), std::string::npos) << result.err;
}

// llama-bench as far as the comparison knows it: checks that the file it is given is GGUF with the
// sizes of the config, and answers as the real one does.
constexpr const char* kStandIn = R"(#!/usr/bin/env python3
import json, struct, sys
flag = lambda name: sys.argv[sys.argv.index(name) + 1]
data = open(flag("-m"), "rb").read()
magic, version, tensors, keys = struct.unpack_from("<4sIQQ", data)
assert (magic, version, tensors, keys) == (b"GGUF", 3, 3 + 2 * 9, 15), (magic, version, tensors, keys)
at = 24
def text():
    global at
    n = struct.unpack_from("<Q", data, at)[0]
    at += 8 + n
    return data[at - n:at].decode()
meta = {}
for _ in range(keys):
    name, kind = text(), struct.unpack_from("<I", data, at)[0]
    at += 4
    if kind == 8:
        meta[name] = text()
    else:
        meta[name] = struct.unpack_from({4: "<I", 6: "<f"}[kind], data, at)[0]
        at += 4
assert meta["general.architecture"] == "llama" and meta["llama.block_count"] == 2
end = parameters = 0
for _ in range(tensors):
    text()
    n = struct.unpack_from("<I", data, at)[0]
    dims = struct.unpack_from(f"<{n}Q", data, at + 4)
    kind, offset = struct.unpack_from("<IQ", data, at + 4 + 8 * n)
    at += 16 + 8 * n
    parameters += dims[0] * (dims[1] if n == 2 else 1)
    assert offset == end and kind == (30 if n == 2 else 0)
    size = (2 if n == 2 else 4) * dims[0] * (dims[1] if n == 2 else 1)
    end += (size + 31) // 32 * 32
assert len(data) == (at + 31) // 32 * 32 + end
row = lambda p, n, d: {"n_prompt": p, "n_gen": n, "n_depth": d, "samples_ts": [10.0], "model_n_params": parameters}
print(json.dumps([row(int(flag("-p")), 0, 0), row(0, int(flag("-n")), 0)]))
)";

TEST(CompareLlamacpp, RunsBothSidesInTurns) {
  if (std::system("python3 -c '' >/dev/null 2>&1") != 0) GTEST_SKIP() << "no python3";
  const TemporaryFolder folder;
  const std::string program = folder.write("llama-bench", kStandIn);
  chmod(program.c_str(), 0755);
  folder.write("config.json",
               R"({"architectures": ["LlamaForCausalLM"], "vocab_size": 96, "hidden_size": 64,
                   "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
                   "num_key_value_heads": 2, "max_position_embeddings": 16, "rms_norm_eps": 1e-5})");
  const std::string command = "python3 '" + source_path("tools/compare_llamacpp.py") +
                              "' --llama-bench '" + folder.path("") + "' --runtime '" +
                              RT_BINARY_DIR "/bin/runtime' --graph tinyllama --config '" +
                              folder.path("") + "' --formats bf16 -p 12 -n 3 -t 1 --pairs 2 " +
                              "--ours='--probe 4MiB' --json '" + folder.path("out.json") + "' >'" +
                              folder.path("out.md") + "' 2>'" + folder.path("err") + "'";
  const int status = std::system(command.c_str());
  std::ifstream errors(folder.path("err"));
  std::stringstream text;
  text << errors.rdbuf();
  ASSERT_EQ(status, 0) << text.str();
  const auto json = read_json(folder.path("out.json"), 1 << 20);
  ASSERT_TRUE(json.ok());
  const Json& results = json->at("results");
  ASSERT_EQ(results.size(), 2u);
  for (const Json& row : results) {
    ASSERT_EQ(row.at("ratio").size(), 2u);
    EXPECT_DOUBLE_EQ(row.at("ratio")[0], row.at("ours")[0].get<double>() / 10.0);
  }
  EXPECT_EQ(results[0].at("test"), "pp12");
  EXPECT_EQ(results[1].at("test"), "tg3");
  EXPECT_EQ(results[1].at("ours_of_limit").size(), 2u);
  std::ifstream page(folder.path("out.md"));
  std::stringstream table;
  table << page.rdbuf();
  EXPECT_EQ(lines_of(table.str()).size(), 4u) << table.str();
}

}  // namespace
}  // namespace rt::test
