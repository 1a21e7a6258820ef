#include "tools/conformance/fused.h"

#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/graph/fused_operator.h"
#include "core/sdk/sdk.hpp"
#include "tools/conformance/trial_host.h"

namespace rt::conformance {
namespace {

struct Fused {
  std::shared_ptr<const FusedOperator> op;
  rt_schema schema;  // op's, with infer
  rt_implementation reference;
};

std::map<std::string, Fused, std::less<>>& all_fused();

// One part as a node of its own. Tensors are those of the fused node's names.
struct PartNode {
  PartNode(const rt_node& whole, const FusedPart& part, const std::vector<rt_tensor>& names) {
    for (const std::uint32_t i : part.inputs) tensors.push_back(names[i]);
    for (const std::uint32_t o : part.outputs) tensors.push_back(names[o]);
    const std::string prefix = part.name + ".";
    for (std::uint32_t a = 0; a < whole.attr_count; ++a) {
      rt_attr attr = *whole.attrs[a];
      if (std::strncmp(attr.name, prefix.c_str(), prefix.size()) != 0) continue;
      attr.name += prefix.size();
      attrs.push_back(attr);
    }
    for (const rt_tensor& tensor : tensors) tensor_list.push_back(&tensor);
    for (const rt_attr& attr : attrs) attr_list.push_back(&attr);
    c = whole;
    c.op = part.schema->op;
    c.op_version = part.schema->version;
    c.input_count = part.schema->input_count;
    c.output_count = part.schema->output_count;
    c.attr_count = static_cast<std::uint32_t>(attrs.size());
    c.inputs = tensor_list.data();
    c.outputs = tensor_list.data() + c.input_count;
    c.attrs = attr_list.data();
    if (part.schema->has_kv_state == 0) c.kv_dtype = 0;
  }
  PartNode(const PartNode&) = delete;
  std::vector<rt_tensor> tensors;
  std::vector<const rt_tensor*> tensor_list;
  std::vector<rt_attr> attrs;
  std::vector<const rt_attr*> attr_list;
  rt_node c{};
};

// The types of all names: of inputs as given, of the rest as the parts infer them.
rt_status infer_names(const rt_host* host, const rt_node& node, const FusedOperator& op,
                      std::vector<rt_tensor>& names) {
  names.assign(op.name_count(), rt_tensor{});
  for (std::uint32_t i = 0; i < op.input_count(); ++i) names[i] = *node.inputs[i];
  for (const FusedPart& part : op.parts()) {
    const PartNode view(node, part, names);
    std::vector<rt_tensor*> outputs;
    for (const std::uint32_t o : part.outputs) outputs.push_back(&names[o]);
    const rt_status status = part.schema->infer(host, &view.c, outputs.data());
    if (status != RT_OK) return status;
  }
  return RT_OK;
}

rt_status infer(const rt_host* host, const rt_node* node, rt_tensor* const* outputs) {
  const FusedOperator& op = *all_fused().find(node->op)->second.op;
  std::vector<rt_tensor> names;
  const rt_status status = infer_names(host, *node, op, names);
  for (std::size_t o = 0; status == RT_OK && o < op.outputs().size(); ++o) {
    *outputs[o] = names[op.outputs()[o]];
  }
  return status;
}

class Reference {
 public:
  explicit Reference(const sdk::Node& node) : op_(*all_fused().find(node.c().op)->second.op) {
    if (infer_names(trial_host(), node.c(), op_, names_) != RT_OK)
      throw sdk::Refusal(last_failure());
    for (const FusedPart& part : op_.parts()) {
      const PartNode view(node.c(), part, names_);
      Instance& instance = instances_.emplace_back();
      const Contract* contract = find_contract(part.schema->op, part.schema->version);
      instance.reference = contract == nullptr ? nullptr : contract->reference;
      if (instance.reference == nullptr) {
        throw sdk::Refusal(sdk::format("%s has no reference", part.schema->op));
      }
      if (instance.reference->create(trial_host(), &view.c, &instance.self) != RT_OK) {
        throw sdk::Refusal(last_failure());
      }
    }
  }
  ~Reference() {
    for (const Instance& instance : instances_) {
      if (instance.self != nullptr) instance.reference->destroy(instance.self);
    }
  }

  void execute(const sdk::Call& call) {
    const rt_call& c = call.c();
    std::vector<std::vector<unsigned char>> memory(op_.name_count());
    for (std::uint32_t i = 0; i < op_.name_count(); ++i) place(c, i, memory[i]);
    for (std::size_t o = 0; o < op_.outputs().size(); ++o) {
      names_[op_.outputs()[o]] = *c.outputs[o];
    }
    for (std::size_t p = 0; p < instances_.size(); ++p) run(c, op_.parts()[p], instances_[p]);
  }

 private:
  struct Instance {
    const rt_implementation* reference = nullptr;
    void* self = nullptr;
  };

  // An input is the call's; what is made gets memory of its own.
  void place(const rt_call& c, std::uint32_t i, std::vector<unsigned char>& memory) {
    if (i < op_.input_count()) {
      names_[i] = *c.inputs[i];
      return;
    }
    rt_tensor& tensor = names_[i];
    std::uint64_t bytes = sdk::dtype_bytes(tensor.dtype);
    tensor.shape[0] = c.step->tokens;  // patterns of ours are over tokens
    for (std::uint32_t d = 0; d < tensor.rank; ++d) {
      bytes *= static_cast<std::uint64_t>(tensor.shape[d]);
    }
    memory.resize(bytes);
    tensor.data = memory.data();
  }

  void run(const rt_call& whole, const FusedPart& part, const Instance& instance) {
    std::vector<const rt_tensor*> list;
    for (const std::uint32_t i : part.inputs) list.push_back(&names_[i]);
    for (const std::uint32_t o : part.outputs) list.push_back(&names_[o]);
    rt_call c = whole;
    c.input_count = part.schema->input_count;
    c.output_count = part.schema->output_count;
    c.inputs = list.data();
    c.outputs = list.data() + c.input_count;
    if (part.schema->has_kv_state == 0) c.kv = nullptr;
    if (instance.reference->execute(instance.self, &c) != RT_OK) throw sdk::Refusal(last_failure());
  }

  const FusedOperator& op_;
  std::vector<rt_tensor> names_;
  std::vector<Instance> instances_;
};

std::map<std::string, Fused, std::less<>>& all_fused() {
  static std::map<std::string, Fused, std::less<>> all;
  return all;
}

}  // namespace

Result<Contract> fused_contract(const rt_fusion& fusion, const SchemaSet& schemas) {
  RT_TRY(auto made, FusedOperator::make(fusion, schemas));
  Fused& fused = all_fused()[fusion.op];
  fused.op = std::move(made);
  fused.schema = fused.op->schema();
  fused.schema.infer = infer;
  fused.reference = sdk::implementation<Reference>(
      {.op = fusion.op, .name = "reference", .device_kind = "cpu", .tier = 0});
  return Contract{&fused.schema, &fused.reference, true};
}

}  // namespace rt::conformance
