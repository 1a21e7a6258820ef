#include "tools/runtime/device_probe.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <random>
#include <vector>

#include "core/graph/node_view.h"
#include "core/memory/open_device.h"
#include "core/plugin/host.h"
#include "core/sdk/number.hpp"

namespace rt {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kCopies = 8;  // of 256 MiB at 4 TB/s: a millisecond, far above the cost of a call
constexpr double kProductSeconds = 0.1;  // some 60 of 8192^3: until the clocks have settled

std::unique_ptr<OpenDevice> open_another(const Blueprint& b) {
  const OptionList options(b.options.device_options);
  auto device = OpenDevice::open(*b.device.c, b.desc, options.view(), b.device.host, take_fail_text,
                                 UINT64_MAX);
  return device.ok() ? std::move(device).value() : nullptr;
}

// Seconds that `times` of `work` take, the device waited for; 0 if something fails.
double seconds_of(OpenDevice& device, int times, const std::function<bool()>& work) {
  const Clock::time_point begin = Clock::now();
  for (int i = 0; i < times; ++i) {
    if (!work()) return 0;
  }
  if (!device.synchronize().ok()) return 0;
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// out[T, N] = x[T, K] weight[N, K]^T with T = K = N, as a node that belongs to no graph.
class Product {
 public:
  Product(const Blueprint& b, std::uint64_t side)
      : side_(static_cast<std::int64_t>(side)), bounds_{sizeof bounds_, 0, 1, 1, side} {
    const TensorType type{b.desc.value_dtype, 2, {side_, side_}};
    bounds_.tokens = static_cast<std::uint32_t>(side);
    for (rt_tensor& tensor : tensors_) tensor = to_tensor(type);
    node_ = {.struct_size = sizeof node_,
             .op_version = 1,
             .name = "probe",
             .op = "linear",
             .input_count = 2,
             .output_count = 1,
             .attr_count = 0,
             .value_dtype = b.desc.value_dtype,
             .inputs = pointers_,
             .outputs = pointers_ + 2,
             .attrs = nullptr,
             .device = &b.desc,
             .bounds = &bounds_,
             .kv_dtype = 0,
             .step_class = RT_STEP_PREFILL,
             .exact = 0,
             .reserved = 0};
  }
  Product(const Product&) = delete;
  Product& operator=(const Product&) = delete;

  const rt_node& node() const { return node_; }
  double flops() const { return 2.0 * std::pow(static_cast<double>(side_), 3); }

  // Memory for the operands, and numbers in them: with zeros the units draw less power and the
  // clock stays above what any model sees.
  Status allocate(OpenDevice& device) {
    const std::uint64_t bytes =
        static_cast<std::uint64_t>(side_ * side_) * dtype_bytes(tensors_[0].dtype);
    for (int i = 0; i < 3; ++i) {
      RT_TRY(memory_[i], Buffer::make(device, MemoryKind::kActivations, bytes));
      tensors_[i].data = memory_[i].data();
      RT_RETURN_IF_ERROR(fill(device, memory_[i].data(), bytes));
    }
    return {};
  }

  // Operations per second of one implementation, 0 if it does not run.
  double rate(OpenDevice& device, const Decision& decision) {
    const rt_implementation& c = *decision.implementation.c;
    const rt_host* host = decision.implementation.host;
    auto workspace =
        Buffer::make(device, MemoryKind::kWorkspace,
                     std::max<std::uint64_t>(decision.requirements.workspace_bytes, 1));
    void* self = nullptr;
    const bool simple = decision.requirements.meta_bytes == 0 && decision.packed_layout().empty();
    if (!simple || !workspace.ok() || c.create(host, &node_, &self) != RT_OK) return 0;
    const std::vector<std::int32_t> zeros(bounds_.tokens);
    const auto tokens = static_cast<std::int32_t>(bounds_.tokens);
    const std::int32_t offsets[] = {0, tokens};
    const rt_step step = one_prompt(offsets, zeros.data());
    const rt_call call{.struct_size = sizeof call,
                       .input_count = 2,
                       .output_count = 1,
                       .reserved = 0,
                       .host = host,
                       .exec = &device.exec(),
                       .step = &step,
                       .inputs = pointers_,
                       .outputs = pointers_ + 2,
                       .workspace = workspace->data(),
                       .meta = nullptr,
                       .kv = nullptr};
    const auto execute = [&] { return c.execute(self, &call) == RT_OK; };
    double rate = 0;
    const bool prepared = c.prepare == nullptr || c.prepare(host, self, &step, nullptr) == RT_OK;
    if (prepared &&
        seconds_of(device, 1, execute) > 0) {  // the first one chooses algorithms and loads kernels
      const double once = std::max(seconds_of(device, 1, execute), 1e-6);
      const int times = std::clamp(static_cast<int>(kProductSeconds / once), 1, 100);
      const double seconds = seconds_of(device, times, execute);
      if (seconds > 0) rate = flops() * times / seconds;
    }
    c.destroy(self);
    return rate;
  }

 private:
  // A step of T tokens of one sequence; of its arrays what a product may look at on the host.
  rt_step one_prompt(const std::int32_t* offsets, const std::int32_t* zeros) const {
    rt_step step{};
    step.struct_size = sizeof step;
    step.tokens = bounds_.tokens;
    step.sequences = step.rows = 1;
    step.token_ids = step.positions = step.token_sequence = step.row_tokens = zeros;
    step.rope_regimes = zeros;
    step.token_offsets = offsets;
    step.lengths = offsets + 1;
    return step;
  }

  // Uniform numbers, a block of which is repeated.
  static Status fill(OpenDevice& device, std::byte* to, std::uint64_t bytes) {
    std::vector<std::byte> block(std::min<std::uint64_t>(bytes, 1 << 20));
    std::minstd_rand random;
    std::uniform_real_distribution<float> uniform(-1, 1);
    const rt_dtype dtype = device.desc().value_dtype;
    for (std::uint64_t i = 0; i < block.size() / dtype_bytes(dtype); ++i) {
      sdk::store_number(block.data(), dtype, i, uniform(random));
    }
    for (std::uint64_t at = 0; at < bytes; at += block.size()) {
      RT_RETURN_IF_ERROR(
          device.upload(to + at, block.data(), std::min<std::uint64_t>(block.size(), bytes - at)));
    }
    return device.synchronize();
  }

  std::int64_t side_;
  rt_bounds bounds_;
  rt_tensor tensors_[3];  // x, weight, out
  const rt_tensor* pointers_[3] = {&tensors_[0], &tensors_[1], &tensors_[2]};
  Buffer memory_[3];
  rt_node node_{};
};

}  // namespace

double device_copy_rate(const Blueprint& blueprint, std::uint64_t bytes) {
  const auto device = open_another(blueprint);
  if (device == nullptr) return 0;
  bytes = std::max<std::uint64_t>(bytes / 4, 4096);
  const auto from = Buffer::make(*device, MemoryKind::kActivations, bytes);
  const auto to = Buffer::make(*device, MemoryKind::kActivations, bytes);
  if (!from.ok() || !to.ok()) return 0;
  const auto copy = [&] { return device->copy(to->data(), from->data(), bytes).ok(); };
  if (seconds_of(*device, 1, copy) == 0) return 0;  // the first touches the memory
  const double seconds = seconds_of(*device, kCopies, copy);
  return seconds > 0 ? 2.0 * kCopies * static_cast<double>(bytes) / seconds : 0;
}

ProductRate device_product_rate(Registry& registry, const Blueprint& blueprint,
                                std::uint64_t bytes) {
  const auto device = open_another(blueprint);
  const auto schema = registry.schema("linear", 1);
  if (device == nullptr || !schema.ok()) return {};
  const double side = std::sqrt(static_cast<double>(bytes) / 16);
  Product product(blueprint,
                  std::max<std::uint64_t>(static_cast<std::uint64_t>(side) / 64 * 64, 64));
  if (!product.allocate(*device).ok()) return {};
  ProductRate best;
  for (const Decision& decision : assess(registry, *schema, product.node(), {}, {})) {
    if (!decision.usable()) continue;
    const double flops = product.rate(*device, decision);
    if (flops > best.flops) best = {flops, decision.full_name};
  }
  return best;
}

}  // namespace rt
