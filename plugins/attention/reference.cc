// Reference of attention: see schema.cc. Every KV form and type, through kv_row; one query and one
// head at a time, the scores of all visible keys in memory.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/sdk/kv.hpp"
#include "core/sdk/kv_row.hpp"

#include "plugins/reference/matrix.h"

extern const rt_implementation rt_reference_attention;

namespace {
using rt::reference::Matrix;
namespace sdk = rt::sdk;

struct Attention {
  explicit Attention(const sdk::Node& node)
      : H(node.attrs().integer("heads")),
        G(node.attrs().integer("kv_heads")),
        E(node.attrs().integer("head_width")),
        scale(node.attrs().real("scale")),
        softcap(node.attrs().real("softcap")),
        window(node.attrs().integer("window")),
        format(sdk::kv_row_format(node.c().kv_dtype, static_cast<std::uint64_t>(G),
                                  static_cast<std::uint64_t>(E))) {}

  void execute(const sdk::Call& call) const {
    const rt_step& step = call.step();
    append(call, 1, sdk::kKeys);
    append(call, 2, sdk::kValues);
    for (std::uint32_t t = 0; t < step.tokens; ++t) {
      for (std::int64_t h = 0; h < H; ++h) attend(call, t, h);
    }
  }

  // Rows [T, G*E] of input i go to the cache.
  void append(const sdk::Call& call, std::uint32_t i, sdk::KvStream stream) const {
    const rt_step& step = call.step();
    const Matrix rows(call.input(i));
    for (std::uint32_t t = 0; t < step.tokens; ++t) {
      void* row = sdk::kv_row(call.kv(), step, static_cast<std::uint32_t>(step.token_sequence[t]),
                              static_cast<std::uint64_t>(step.positions[t]), stream);
      std::vector<float> values;
      for (std::int64_t e = 0; e < rows.width; ++e) {
        values.push_back(static_cast<float>(rows.at(t, e)));
      }
      sdk::kv_store_row(format, values.data(), row);
    }
  }

  void attend(const sdk::Call& call, std::uint32_t t, std::int64_t h) const {
    const Matrix q(call.input(0));     // [T, H*E]
    const Matrix out(call.output(0));  // [T, H*E]
    const auto b = static_cast<std::uint32_t>(call.step().token_sequence[t]);
    const std::int64_t last = call.step().positions[t];
    const std::int64_t first = window > 0 ? std::max<std::int64_t>(0, last - window + 1) : 0;
    const std::int64_t g = h / (H / G);
    const auto cached = [&](std::int64_t position, sdk::KvStream stream, std::int64_t e) {
      const void* row =
          sdk::kv_row(call.kv(), call.step(), b, static_cast<std::uint64_t>(position), stream);
      return static_cast<double>(
          sdk::kv_load(format, row, static_cast<std::uint64_t>(g), static_cast<std::uint64_t>(e)));
    };

    std::vector<double> weights;  // of keys [first, last]
    double largest = -std::numeric_limits<double>::infinity();
    for (std::int64_t p = first; p <= last; ++p) {
      double score = 0;
      for (std::int64_t e = 0; e < E; ++e) score += q.at(t, h * E + e) * cached(p, sdk::kKeys, e);
      score *= scale;
      if (softcap > 0) score = softcap * std::tanh(score / softcap);
      weights.push_back(score);
      largest = std::max(largest, score);
    }
    double total = 0;
    for (double& weight : weights) total += weight = std::exp(weight - largest);
    for (std::int64_t e = 0; e < E; ++e) {
      double sum = 0;
      for (std::int64_t p = first; p <= last; ++p) {
        sum += weights[static_cast<std::size_t>(p - first)] * cached(p, sdk::kValues, e);
      }
      out.set(t, h * E + e, sum / total);
    }
  }

  std::int64_t H;
  std::int64_t G;
  std::int64_t E;
  double scale;
  double softcap;
  std::int64_t window;
  sdk::KvRowFormat format;
};

}  // namespace

const rt_implementation rt_reference_attention = sdk::implementation<Attention>(
    {.op = "attention", .name = "reference", .device_kind = "cpu", .tier = 0});
