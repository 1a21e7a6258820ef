#include "tools/conformance/run.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <random>

#include "core/memory/quantize.h"
#include "core/sdk/number.hpp"
#include "core/sdk/sdk.hpp"
#include "tools/conformance/contract.h"
#include "tools/conformance/guarded_buffer.h"
#include "tools/conformance/kv_memory.h"
#include "tools/conformance/node_attrs.h"
#include "tools/conformance/step_arrays.h"
#include "tools/conformance/trial_host.h"

namespace rt::conformance {
namespace {

constexpr unsigned char kPoison = 0xFF;  // NaN as a number, far out as an id
constexpr std::uint64_t kAlignment = 64;

// The context that nodes are told of: positions of rope go up to the end of LongRoPE, caches of the
// cases are shorter, and an implementation may make more parts of a longer one.
constexpr std::uint64_t kMostPositions = 1 << 17;
constexpr std::uint64_t kMostCached = 1024;

template <class T>
std::vector<const T*> pointers(const std::vector<T>& items) {
  std::vector<const T*> out;
  for (const T& item : items) out.push_back(&item);
  return out;
}

rt_tensor bind_tensor(rt_dtype dtype, const std::vector<std::int64_t>& shape) {
  rt_tensor tensor{};
  tensor.struct_size = sizeof(rt_tensor);
  tensor.dtype = dtype;
  tensor.rank = static_cast<std::uint32_t>(shape.size());
  std::copy(shape.begin(), shape.end(), tensor.shape);
  return tensor;
}

// The device "cpu", opened for its pool of threads.
class Pool {
 public:
  explicit Pool(std::uint32_t threads) : api_(cpu_api()) {
    const rt_attr count = {sizeof(rt_attr), RT_ATTR_INT, "threads", threads, 0.0,
                           nullptr,         nullptr,     0};
    const rt_attr* options[] = {&count};
    if (api_ != nullptr && api_->open(trial_host(), 0, 1, options, &device_) != RT_OK) {
      device_ = nullptr;
    }
  }
  ~Pool() {
    if (device_ != nullptr) api_->close(device_);
  }
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  // False where there is none.
  bool run(std::uint64_t count, std::uint64_t grain, rt_range_fn fn, void* arg) {
    if (device_ == nullptr) return false;
    api_->parallel_for(device_, count, grain, fn, arg);
    return true;
  }

 private:
  const rt_device* api_;
  void* device_ = nullptr;
};

// What rt_exec.device points to.
struct Exec {
  RunOptions options;
  std::mt19937 random{1};
  std::unique_ptr<Pool> pool{};

  static void parallel_for(void* device, std::uint64_t count, std::uint64_t grain, rt_range_fn fn,
                           void* arg) {
    Exec& self = *static_cast<Exec*>(device);
    if (count == 0) return;
    if (self.pool != nullptr && self.pool->run(count, grain, fn, arg)) return;
    if (self.options.split == Split::kWhole) return fn(arg, 0, count, 0);
    grain = std::max<std::uint64_t>(grain, 1);
    std::vector<std::uint64_t> begins;
    for (std::uint64_t begin = 0; begin < count; begin += grain) begins.push_back(begin);
    std::shuffle(begins.begin(), begins.end(), self.random);
    for (const std::uint64_t begin : begins) {
      const auto worker = static_cast<std::uint32_t>(self.random() % self.options.threads);
      fn(arg, begin, std::min(begin + grain, count), worker);
    }
  }
};

// A node with its outputs inferred, and all the memory of one run.
class Runner {
 public:
  Runner(const rt_schema& schema, const Problem& problem, const RunOptions& options)
      : schema_(schema), problem_(problem), options_(options), attrs_(schema, problem) {
    for (std::size_t i = 0; i < problem.inputs.size(); ++i) {
      const Input& input = problem.inputs[i];
      const rt_port& port = *schema.inputs[i];
      const bool follows = port.kind == RT_PORT_VALUE && input.dtype == RT_F32 &&
                           (port.dtypes & RT_DTYPE_BIT(options.value_dtype)) != 0;
      bound_inputs_.push_back(
          bind_tensor(follows ? options.value_dtype : input.dtype, input.shape));
    }
    bound_outputs_.assign(schema.output_count, rt_tensor{});
    input_pointers_ = pointers(bound_inputs_);
    output_pointers_ = pointers(bound_outputs_);
    bounds_ = {sizeof(rt_bounds), static_cast<std::uint32_t>(problem.tokens()),
               static_cast<std::uint32_t>(problem.sequences.size()),
               static_cast<std::uint32_t>(problem.rows()),
               problem.kv ? kMostCached : kMostPositions};
    node_.struct_size = sizeof(rt_node);
    node_.op_version = schema.version;
    node_.name = problem.name.c_str();
    node_.op = schema.op;
    node_.input_count = static_cast<std::uint32_t>(bound_inputs_.size());
    node_.output_count = schema.output_count;
    node_.attr_count = attrs_.size();
    node_.value_dtype = options.value_dtype;
    node_.inputs = input_pointers_.data();
    node_.attrs = attrs_.data();
    if (options.accelerator != nullptr) device_ = options.accelerator->described();
    device_.threads = options.threads;
    device_.value_dtype = options.value_dtype;
    node_.device = &device_;
    node_.bounds = &bounds_;
    node_.kv_dtype = problem.kv ? problem.kv->dtype : 0;
    node_.exact = options.exact ? 1 : 0;
  }

  bool infer(RunOutcome& outcome) {
    std::vector<rt_tensor*> outputs;
    for (rt_tensor& output : bound_outputs_) outputs.push_back(&output);
    if (!ok(outcome, "infer", schema_.infer(trial_host(), &node_, outputs.data()))) return false;
    for (const rt_tensor& output : bound_outputs_) outcome.leading.push_back(output.shape[0]);
    node_.outputs = output_pointers_.data();
    node_.step_class = options_.step_class;
    return true;
  }

  bool bind(const rt_implementation& implementation, RunOutcome& outcome) {
    if (implementation.supports != nullptr &&
        !ok(outcome, "supports", implementation.supports(trial_host(), &node_))) {
      return false;
    }
    need_.struct_size = sizeof(need_);
    if (schema_.has_kv_state != 0) need_.kv_forms = RT_KV_ALL_FORMS;
    if (implementation.require != nullptr) {
      need_.kv_forms = 0;
      if (!ok(outcome, "require", implementation.require(trial_host(), &node_, &need_))) {
        return false;
      }
    }
    const bool one_stripe = problem_.kv && problem_.kv->form == RT_KV_AFFINE &&
                            problem_.kv->stripe_tokens == 0 &&
                            (need_.kv_forms & RT_KV_ONE_STRIPE) != 0;
    if (problem_.kv && !one_stripe && (need_.kv_forms & RT_KV_FORM_BIT(problem_.kv->form)) == 0) {
      outcome.stage = "kv_forms";
      outcome.status = RT_UNSUPPORTED;
      return false;
    }
    return true;
  }

  void execute(const rt_implementation& implementation, RunOutcome& outcome) {
    make_inputs();
    if (!pack(implementation, outcome)) return;
    make_outputs();
    if (problem_.kv) kv_ = std::make_unique<KvMemory>(problem_);
    StepArrays arrays(problem_, kv_.get());
    GuardedBuffer workspace(need_.workspace_bytes, kAlignment, kPoison);
    GuardedBuffer meta(need_.meta_bytes, kAlignment, kPoison);

    void* self = nullptr;
    if (!ok(outcome, "create", implementation.create(trial_host(), &node_, &self))) return;
    // Twice on one instance: the second finds the first's workspace and cache, and must not care.
    for (int round = 0; round < 2 && outcome.status == RT_OK; ++round) {
      call(implementation, self, arrays.step, workspace, meta, outcome);
      if (outcome.status == RT_OK) collect(round, outcome);
    }
    implementation.destroy(self);
    inspect(workspace, meta, outcome);
  }

 private:
  static bool ok(RunOutcome& outcome, const char* stage, rt_status status) {
    outcome.status = status;
    outcome.stage = stage;
    outcome.text = status == RT_OK ? "" : last_failure();
    if (status == RT_OK) last_failure().clear();
    return status == RT_OK;
  }

  // With T and R filled in.
  rt_tensor at_step(rt_tensor tensor, void* data) const {
    if (tensor.shape[0] == RT_DIM_TOKENS) tensor.shape[0] = problem_.tokens();
    if (tensor.shape[0] == RT_DIM_ROWS) tensor.shape[0] = problem_.rows();
    tensor.data = data;
    return tensor;
  }

  static std::uint64_t elements(const rt_tensor& tensor) {
    std::uint64_t count = 1;
    for (std::uint32_t i = 0; i < tensor.rank; ++i) {
      count *= static_cast<std::uint64_t>(tensor.shape[i]);
    }
    return count;
  }

  // Quantized weights are the runtime's own memory: planes at multiples of 64 bytes.
  static GuardedBuffer quantized_weight(const rt_tensor& tensor, const std::vector<float>& values) {
    const auto rows = static_cast<std::uint64_t>(tensor.shape[0]);
    const auto columns = static_cast<std::uint64_t>(tensor.shape[1]);
    const sdk::WeightFormat format = sdk::weight_format(tensor.dtype, rows, columns);
    GuardedBuffer buffer(format.bytes, kAlignment, 0);
    quantize({values.data(), RT_F32, rows, columns}, format, buffer.data());
    return buffer;
  }

  // Values begin at a multiple of 64 bytes; weights end exactly at the guard page, so they are
  // aligned to their elements only, as in a checkpoint.
  void make_inputs() {
    for (std::size_t i = 0; i < bound_inputs_.size(); ++i) {
      rt_tensor tensor = at_step(bound_inputs_[i], nullptr);
      const bool weight = schema_.inputs[i]->kind == RT_PORT_WEIGHT;
      const std::uint64_t size = sdk::dtype_bytes(tensor.dtype);
      const std::vector<float>& values = problem_.inputs[i].values;
      const bool quantized = sdk::weight_is_quantized(tensor.dtype);
      GuardedBuffer buffer =
          quantized ? quantized_weight(tensor, values)
                    : GuardedBuffer(elements(tensor) * size, weight ? size : kAlignment, 0);
      for (std::uint64_t e = 0; !quantized && e < elements(tensor); ++e) {
        sdk::store_number(buffer.data(), tensor.dtype, e, values.at(e));
      }
      tensor.data = buffer.data();
      inputs_.push_back(tensor);
      originals_.emplace_back(buffer.data(), buffer.data() + buffer.size());
      input_memory_.push_back(std::move(buffer));
    }
  }

  bool pack(const rt_implementation& implementation, RunOutcome& outcome) {
    for (std::uint32_t i = 0; i < inputs_.size(); ++i) {
      if (need_.packed_bytes[i] == 0) continue;
      GuardedBuffer packed(need_.packed_bytes[i], kAlignment, kPoison);
      if (!ok(outcome, "pack",
              implementation.pack(trial_host(), &node_, i, &inputs_[i], packed.data()))) {
        return false;
      }
      if (!packed.slack_intact()) outcome.mistakes.push_back("pack wrote beyond its memory");
      // The source is not there any more when the operator runs.
      input_memory_[i] = std::move(packed);
      originals_[i].assign(input_memory_[i].data(),
                           input_memory_[i].data() + input_memory_[i].size());
      inputs_[i].data = input_memory_[i].data();
    }
    return true;
  }

  void make_outputs() {
    for (const rt_tensor& bound : bound_outputs_) {
      rt_tensor tensor = at_step(bound, nullptr);
      output_memory_.emplace_back(elements(tensor) * sdk::dtype_bytes(tensor.dtype), kAlignment,
                                  kPoison);
      tensor.data = output_memory_.back().data();
      outputs_.push_back(tensor);
    }
  }

  void call(const rt_implementation& implementation, void* self, const rt_step& step,
            const GuardedBuffer& workspace, const GuardedBuffer& meta, RunOutcome& outcome) {
    Exec machine{.options = options_};
    if (options_.split == Split::kPool) {
      machine.pool = std::make_unique<Pool>(options_.threads);
    }
    if (options_.accelerator != nullptr) {
      return call_on_accelerator(implementation, self, step, workspace, meta, outcome);
    }
    if (!prepare(implementation, self, step, meta, outcome)) return;
    const rt_exec exec = {sizeof(rt_exec), options_.threads, &machine, &machine,
                          Exec::parallel_for};
    const Arguments call = call_of(exec, step, inputs_, outputs_, workspace.data(), meta.data());
    ok(outcome, "execute", implementation.execute(self, &call.c));
  }

  static bool prepare(const rt_implementation& implementation, void* self, const rt_step& step,
                      const GuardedBuffer& meta, RunOutcome& outcome) {
    return implementation.prepare == nullptr ||
           ok(outcome, "prepare", implementation.prepare(trial_host(), self, &step, meta.data()));
  }

  // A call and the lists that it points to.
  struct Arguments {
    std::vector<const rt_tensor*> ins, outs;
    rt_call c;
  };
  Arguments call_of(const rt_exec& exec, const rt_step& step, const std::vector<rt_tensor>& inputs,
                    const std::vector<rt_tensor>& outputs, void* workspace, void* meta) const {
    Arguments out{pointers(inputs), pointers(outputs), {}};
    out.c = {.struct_size = sizeof(rt_call),
             .input_count = static_cast<std::uint32_t>(out.ins.size()),
             .output_count = static_cast<std::uint32_t>(out.outs.size()),
             .reserved = 0,
             .host = trial_host(),
             .exec = &exec,
             .step = &step,
             .inputs = out.ins.data(),
             .outputs = out.outs.data(),
             .workspace = workspace,
             .meta = meta,
             .kv = kv_ != nullptr ? &kv_->layout() : nullptr};
    return out;
  }

  // With copies of everything in the GPU's memory, which come back afterwards: a second round finds
  // what the first has left, here as there.
  void call_on_accelerator(const rt_implementation& implementation, void* self, const rt_step& step,
                           const GuardedBuffer& workspace, const GuardedBuffer& meta,
                           RunOutcome& outcome) {
    DeviceCopies copies(*options_.accelerator);
    std::vector<rt_tensor> inputs = inputs_;
    std::vector<rt_tensor> outputs = outputs_;
    for (std::size_t i = 0; i < inputs.size(); ++i) inputs[i].data = copies.add(input_memory_[i]);
    for (std::size_t o = 0; o < outputs.size(); ++o) {
      outputs[o].data = copies.add(output_memory_[o]);
    }
    std::vector<std::uint64_t> bases;
    const rt_step there = step_on_accelerator(step, copies, bases);
    rt_step here = step;  // the same contents in the host's memory
    if (kv_ != nullptr) here.kv_bases = bases.data();
    if (!prepare(implementation, self, here, meta, outcome)) return;
    const Arguments call = call_of(options_.accelerator->exec(), there, inputs, outputs,
                                   copies.add(workspace), copies.add(meta));
    if (!ok(outcome, "execute", implementation.execute(self, &call.c))) return;
    const std::string fault = copies.fetch();
    if (fault.empty()) return;
    outcome.status = RT_DEVICE_FAULT;
    outcome.stage = "synchronize";
    outcome.text = fault;
  }

  rt_step step_on_accelerator(const rt_step& step, DeviceCopies& copies,
                              std::vector<std::uint64_t>& bases) const {
    const auto array = [&]<class T>(const T* from, std::uint64_t count) {
      return copies.add(std::vector<T>(from, from + (from == nullptr ? 0 : count)));
    };
    rt_step out = step;
    out.token_ids = array(step.token_ids, step.tokens);
    out.positions = array(step.positions, step.tokens);
    out.token_sequence = array(step.token_sequence, step.tokens);
    out.token_offsets = array(step.token_offsets, step.sequences + 1);
    out.lengths = array(step.lengths, step.sequences);
    out.row_tokens = array(step.row_tokens, step.rows);
    out.rope_regimes = array(step.rope_regimes, step.sequences);
    out.sampling = array(step.sampling, problem_.sampling.size());
    out.history = array(step.history, problem_.history.size());
    if (kv_ == nullptr) return out;
    const unsigned char* memory = copies.add(kv_->memory());
    bases = kv_->bases_at(memory);
    out.kv_bases = copies.add(bases);
    std::vector<std::uint64_t> tables;
    for (const std::vector<std::uint64_t>& table : kv_->tables_at(memory)) {
      tables.push_back(reinterpret_cast<std::uintptr_t>(copies.add(table)));
    }
    out.kv_tables = copies.add(tables);
    return out;
  }

  void collect(int round, RunOutcome& outcome) {
    std::vector<std::vector<unsigned char>> found;
    for (const GuardedBuffer& buffer : output_memory_) {
      found.emplace_back(buffer.data(), buffer.data() + buffer.size());
    }
    if (round == 1 && found != outcome.outputs) {
      outcome.mistakes.push_back("a second call gives other results");
    }
    outcome.outputs = std::move(found);
    outcome.shapes = outputs_;
    for (const GuardedBuffer& buffer : output_memory_) {
      std::memset(buffer.data(), kPoison, buffer.size());
    }
  }

  void inspect(const GuardedBuffer& workspace, const GuardedBuffer& meta, RunOutcome& outcome) {
    for (std::size_t i = 0; i < inputs_.size(); ++i) {
      if (std::memcmp(originals_[i].data(), input_memory_[i].data(), originals_[i].size()) != 0) {
        outcome.mistakes.push_back("input " + std::to_string(i) + " was changed");
      }
    }
    const auto check = [&](const GuardedBuffer& buffer, const std::string& what) {
      if (!buffer.slack_intact()) outcome.mistakes.push_back("a write beyond " + what);
    };
    for (const GuardedBuffer& buffer : input_memory_) check(buffer, "an input");
    for (const GuardedBuffer& buffer : output_memory_) check(buffer, "an output");
    check(workspace, "the workspace");
    check(meta, "the metadata");
    if (kv_ == nullptr) return;
    check(kv_->memory(), "the KV cache");
    outcome.kv.assign(kv_->memory().data(), kv_->memory().data() + kv_->memory().size());
  }

  const rt_schema& schema_;
  const Problem& problem_;
  const RunOptions options_;
  NodeAttrs attrs_;
  rt_device_desc device_ = cpu_device();
  rt_bounds bounds_{};
  rt_node node_{};
  rt_requirements need_{};
  std::vector<rt_tensor> bound_inputs_, bound_outputs_;
  std::vector<const rt_tensor*> input_pointers_, output_pointers_;
  std::vector<rt_tensor> inputs_, outputs_;
  std::vector<GuardedBuffer> input_memory_, output_memory_;
  std::vector<std::vector<unsigned char>> originals_;
  std::unique_ptr<KvMemory> kv_;
};

}  // namespace

RunOutcome run(const rt_schema& schema, const rt_implementation& implementation,
               const Problem& problem, const RunOptions& options) {
  RunOutcome outcome;
  Runner runner(schema, problem, options);
  if (runner.infer(outcome) && runner.bind(implementation, outcome)) {
    runner.execute(implementation, outcome);
  }
  return outcome;
}

RunOutcome infer_only(const rt_schema& schema, const Problem& problem) {
  RunOutcome outcome;
  Runner(schema, problem, {}).infer(outcome);
  return outcome;
}

std::string difference(const RunOutcome& found, const RunOutcome& expected, double absolute,
                       double relative) {
  for (std::size_t o = 0; o < expected.outputs.size(); ++o) {
    const rt_tensor& shape = expected.shapes[o];
    const std::uint64_t size = sdk::dtype_bytes(shape.dtype);
    const std::uint64_t width = static_cast<std::uint64_t>(shape.rank == 2 ? shape.shape[1] : 1);
    for (std::uint64_t e = 0; e < expected.outputs[o].size() / size; ++e) {
      double a = 0;
      double b = 0;
      const bool integer = shape.dtype == RT_I32;
      if (integer) {
        std::int32_t ids[2];
        std::memcpy(&ids[0], &found.outputs[o][e * 4], 4);
        std::memcpy(&ids[1], &expected.outputs[o][e * 4], 4);
        a = ids[0];
        b = ids[1];
      } else {
        a = sdk::load_number(found.outputs[o].data(), shape.dtype, e);
        b = sdk::load_number(expected.outputs[o].data(), shape.dtype, e);
      }
      if (a == b || (!integer && std::abs(a - b) <= absolute + relative * std::abs(b))) continue;
      return sdk::format("output %zu [%llu, %llu]: found %.9g, expected %.9g within %.3g", o,
                         static_cast<unsigned long long>(e / width),
                         static_cast<unsigned long long>(e % width), a, b,
                         absolute + relative * std::abs(b));
    }
  }
  return "";
}

}  // namespace rt::conformance
