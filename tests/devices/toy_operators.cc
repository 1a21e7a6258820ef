// execute() copies what the call says (shapes, counts, addresses) and returns. At its turn the
// worker turns device addresses into its own view of them: those in the call, and, in a copy of the
// step's kv_bases and kv_tables, those that lie in the device's memory. A replay therefore uses the
// counts and addresses of the recording with the contents of the moment, as a real device would.
#include "tests/devices/toy_operators.h"

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "core/sdk/kv.hpp"
#include "core/sdk/sdk.hpp"
#include "tests/devices/toy_stream.h"

namespace rt::toy {
namespace {

std::vector<const rt_implementation*> references;

// A reference's own object; recorded work keeps it alive.
struct Bound {
  Bound(const rt_implementation& its_reference, void* its_self, const rt_requirements& its_need)
      : reference(its_reference), self(its_self), need(its_need) {}
  ~Bound() { reference.destroy(self); }
  Bound(const Bound&) = delete;
  Bound& operator=(const Bound&) = delete;

  const rt_implementation& reference;
  void* self;
  rt_requirements need;
};

// The host as a worker's call sees it: fail() keeps the text, since the thread that would ask for
// it is another; the rest is passed on with the real host's address, which the real host relies on.
struct WorkerHost {
  rt_host api{};  // first: its functions are given its address
  const rt_host* host;
  std::string text;

  explicit WorkerHost(const rt_host* real) : host(real) {
    api.struct_size = sizeof api;
    api.abi_major = real->abi_major;
    api.abi_minor = real->abi_minor;
    api.fail = [](const rt_host* self, rt_status code, const char* message) {
      of(self).text = message;
      return code;
    };
    api.log = [](const rt_host* self, rt_log_level level, const char* message) {
      of(self).host->log(of(self).host, level, message);
    };
    api.extension = [](const rt_host* self, const char* id) {
      return of(self).host->extension(of(self).host, id);
    };
  }
  static WorkerHost& of(const rt_host* self) {
    return *reinterpret_cast<WorkerHost*>(const_cast<rt_host*>(self));
  }
};

std::uint64_t bytes_of(const rt_tensor& tensor) {
  std::uint64_t bytes = sdk::dtype_bytes(tensor.dtype);
  for (std::uint32_t i = 0; i < tensor.rank; ++i) {
    bytes *= static_cast<std::uint64_t>(tensor.shape[i]);
  }
  return bytes;
}

// A step whose arrays the worker can read: those of the device, but for the two that hold
// addresses.
class WorkerStep {
 public:
  WorkerStep(const rt_step& step, const Memory& memory) : memory_(memory), step_(step) {
    const std::uint64_t T = step.tokens;
    const std::uint64_t B = step.sequences;
    const std::uint64_t cells = step.kv_classes * B;
    place(step_.token_ids, T, "step.token_ids");
    place(step_.positions, T, "step.positions");
    place(step_.token_sequence, T, "step.token_sequence");
    place(step_.token_offsets, B + 1, "step.token_offsets");
    place(step_.lengths, B, "step.lengths");
    place(step_.row_tokens, step.rows, "step.row_tokens");
    place(step_.rope_regimes, B, "step.rope_regimes");
    place(step_.kv_bases, cells, "step.kv_bases");
    place(step_.kv_tables, cells, "step.kv_tables");
    place(step_.sampling, step.rows, "step.sampling");
    step_.history = memory.view(step.history);
  }

  const rt_step& c() const { return step_; }

  // For nodes with a cache: turns the addresses around, and makes sure that the rows which this
  // step appends have memory under them.
  void place_cache(const rt_kv_layout& kv) {
    const std::uint64_t cells = std::uint64_t{step_.kv_classes} * step_.sequences;
    bases_.assign(cells, 0);
    tables_.assign(cells, 0);
    if (step_.kv_bases != nullptr) {
      for (std::uint64_t cell = 0; cell < cells; ++cell) {
        bases_[cell] = memory_.view(step_.kv_bases[cell]);
      }
    }
    if (kv.form == RT_KV_TABLE) place_tables(kv);
    step_.kv_bases = bases_.data();
    step_.kv_tables = tables_.data();
    expect_rows(kv);
  }

 private:
  template <class T>
  void place(const T*& array, std::uint64_t count, const char* what) const {
    array = memory_.standing(array, count * sizeof(T), what);
  }

  void place_tables(const rt_kv_layout& kv) {
    entries_.resize(step_.sequences);
    for (std::uint32_t b = 0; b < step_.sequences; ++b) {
      const std::uint64_t cell = std::uint64_t{kv.class_index} * step_.sequences + b;
      const auto tokens = static_cast<std::uint64_t>(step_.lengths[b]);
      const std::uint64_t stripes = (tokens + kv.stripe_tokens - 1) / kv.stripe_tokens;
      const auto* table = reinterpret_cast<const std::uint64_t*>(step_.kv_tables[cell]);
      place(table, stripes, "the stripes in step.kv_tables");
      entries_[b].assign(table, table + stripes);
      for (std::uint64_t& address : entries_[b]) address = memory_.view(address);
      tables_[cell] = reinterpret_cast<std::uint64_t>(entries_[b].data());
    }
  }

  void expect_rows(const rt_kv_layout& kv) const {
    for (std::uint32_t t = 0; t < step_.tokens; ++t) {
      const auto b = static_cast<std::uint32_t>(step_.token_sequence[t]);
      const auto position = static_cast<std::uint64_t>(step_.positions[t]);
      if (b >= step_.sequences || step_.positions[t] >= step_.lengths[b]) {
        throw sdk::Refusal(sdk::format("token %u: sequence %u of %u, position %d: not in the step",
                                       t, b, step_.sequences, step_.positions[t]),
                           RT_DEVICE_FAULT);
      }
      const auto* k = sdk::kv_row(kv, step_, b, position, sdk::kKeys);
      const auto* v = sdk::kv_row(kv, step_, b, position, sdk::kValues);
      memory_.standing(memory_.unview(k), kv.k_row_bytes, "a row of keys");
      memory_.standing(memory_.unview(v), kv.v_row_bytes, "a row of values");
    }
  }

  const Memory& memory_;
  rt_step step_;
  std::vector<std::uint64_t> bases_;                 // [C, B]
  std::vector<std::uint64_t> tables_;                // [C, B]
  std::vector<std::vector<std::uint64_t>> entries_;  // [B][stripes]
};

void serial_for(void*, std::uint64_t count, std::uint64_t, rt_range_fn fn, void* arg) {
  if (count > 0) fn(arg, 0, count, 0);
}

// A call as it stood when execute() returned.
class RecordedCall {
 public:
  RecordedCall(std::shared_ptr<Bound> bound, const rt_call& call)
      : bound_(std::move(bound)), call_(call), step_(*call.step) {
    for (std::uint32_t i = 0; i < call.input_count; ++i) inputs_.push_back(*call.inputs[i]);
    for (std::uint32_t i = 0; i < call.output_count; ++i) outputs_.push_back(*call.outputs[i]);
    if (call.kv != nullptr) kv_ = *call.kv;
  }

  void run(const Memory& memory) const {
    const std::string op = bound_->reference.op;
    std::vector<rt_tensor> inputs = placed(inputs_, memory, op + ": an input");
    std::vector<rt_tensor> outputs = placed(outputs_, memory, op + ": an output");
    const std::vector<const rt_tensor*> input_list = pointers(inputs);
    const std::vector<const rt_tensor*> output_list = pointers(outputs);
    WorkerStep step(step_, memory);
    if (call_.kv != nullptr) step.place_cache(kv_);

    WorkerHost host(call_.host);
    rt_exec exec{};
    exec.struct_size = sizeof exec;
    exec.threads = 1;
    exec.parallel_for = serial_for;
    rt_call call = call_;
    call.host = &host.api;
    call.exec = &exec;
    call.step = &step.c();
    call.inputs = input_list.data();
    call.outputs = output_list.data();
    call.workspace =
        memory.standing(call_.workspace, bound_->need.workspace_bytes, "the workspace");
    call.meta = memory.standing(call_.meta, bound_->need.meta_bytes, "the metadata");
    call.kv = call_.kv == nullptr ? nullptr : &kv_;
    const rt_status status = bound_->reference.execute(bound_->self, &call);
    if (status != RT_OK) throw sdk::Refusal(op + ": " + host.text, status);
  }

 private:
  static std::vector<rt_tensor> placed(std::vector<rt_tensor> tensors, const Memory& memory,
                                       const std::string& what) {
    for (rt_tensor& tensor : tensors) {
      tensor.data = memory.standing(tensor.data, bytes_of(tensor), what.c_str());
    }
    return tensors;
  }

  static std::vector<const rt_tensor*> pointers(const std::vector<rt_tensor>& tensors) {
    std::vector<const rt_tensor*> list;
    for (const rt_tensor& tensor : tensors) list.push_back(&tensor);
    return list;
  }

  std::shared_ptr<Bound> bound_;
  rt_call call_;  // its pointers to structs are replaced in run()
  rt_step step_;
  rt_kv_layout kv_{};
  std::vector<rt_tensor> inputs_;
  std::vector<rt_tensor> outputs_;
};

using Self = std::shared_ptr<Bound>;

rt_status create(const rt_host* host, const rt_node* node, void** self) {
  return sdk::guard(host, [&] {
    const auto found = std::find_if(references.begin(), references.end(), [&](const auto* r) {
      return std::string_view(r->op) == node->op && r->op_version == node->op_version;
    });
    if (found == references.end()) {
      throw sdk::Refusal(std::string("no reference of ") + node->op, RT_INTERNAL);
    }
    rt_requirements need{};
    need.struct_size = sizeof need;
    if ((*found)->require != nullptr && (*found)->require(host, node, &need) != RT_OK) {
      throw sdk::Refusal("the reference has no requirements for this node", RT_INTERNAL);
    }
    void* inner = nullptr;
    if (const rt_status status = (*found)->create(host, node, &inner); status != RT_OK) {
      throw sdk::Refusal("the reference refused this node", status);
    }
    *self = new Self(std::make_shared<Bound>(**found, inner, need));
  });
}

rt_status prepare(const rt_host* host, void* self, const rt_step* step, void* meta) {
  const Bound& bound = **static_cast<Self*>(self);
  return bound.reference.prepare(host, bound.self, step, meta);
}

rt_status execute(void* self, const rt_call* call) {
  return sdk::guard(call->host, [&] {
    Stream& stream = *static_cast<Stream*>(call->exec->stream);
    stream.put([recorded = RecordedCall(*static_cast<Self*>(self), *call),
                &memory = stream.memory()] { recorded.run(memory); });
  });
}

void destroy(void* self) {
  delete static_cast<Self*>(self);
}

rt_implementation wrap(const rt_implementation& reference) {
  rt_implementation out = reference;  // supports, require and pack know nothing of the device
  out.name = "toy";
  out.device_kind = "toy";
  out.isa = "";
  out.tier = 200;
  out.traits = RT_TRAIT_EXACT | RT_TRAIT_CAPTURE_SAFE;
  out.create = create;
  if (reference.prepare != nullptr) out.prepare = prepare;
  out.execute = execute;
  out.destroy = destroy;
  return out;
}

}  // namespace

const rt_implementation* const* wrapped(std::span<const rt_implementation* const> all) {
  static std::vector<rt_implementation> implementations;
  static std::vector<const rt_implementation*> list;
  references.assign(all.begin(), all.end());
  for (const rt_implementation* reference : all) implementations.push_back(wrap(*reference));
  for (const rt_implementation& implementation : implementations) list.push_back(&implementation);
  return list.data();
}

}  // namespace rt::toy
