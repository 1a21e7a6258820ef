// What engine tests share: the bundled plugins, model folders, golden files.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/base/json_fwd.h"
#include "core/engine/session.h"
#include "core/plugin/registry.h"

namespace rt::test {

std::string source_path(const std::string& path);
// A file of this build.
std::string built_path(const std::string& path);
// The data beside the checkout; tests skip where it is absent.
std::string shared_path(const std::string& path);

// The plugins of this build, plus `extra` files.
std::unique_ptr<Registry> bundled_registry(std::vector<std::string> extra = {});
Registry& registry();

// A session for exact comparisons: f32 KV cache, exact products.
EngineOptions exact_options(const std::string& graph, const std::string& weights);
// NULL, and a failure: it could not be drawn or opened.
std::unique_ptr<Session> opened(Result<std::unique_ptr<Blueprint>> blueprint);
std::unique_ptr<Session> open_session(const EngineOptions& options, Registry& plugins = registry());
Sampling greedy();
std::unique_ptr<Sequence> start(Session& session, std::uint64_t budget = 0);

// Greedy continuation of `prompt` by `count` tokens, on a sequence that may already hold some.
std::vector<std::int32_t> continue_greedy(Session& session, Sequence& sequence,
                                          const std::vector<std::int32_t>& prompt,
                                          std::size_t count);
std::vector<std::int32_t> generate_greedy(const EngineOptions& options,
                                          const std::vector<std::int32_t>& prompt,
                                          std::size_t count);

std::vector<float> read_floats(const std::string& path);
Json read_golden(const std::string& path);

// Largest |a - b| over two runs of floats.
float max_difference(const float* a, const float* b, std::size_t count);

}  // namespace rt::test
