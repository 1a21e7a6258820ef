#include "tests/devices/operator_run.h"

#include <memory>
#include <random>

namespace rt::test {
namespace {

// The node of a case, with everything that it points to.
struct BoundNode {
  BoundNode(const Case& c, const rt_schema& schema) {
    fill_attrs(c, schema);
    for (const Input& input : c.inputs) inputs.push_back(tensor(input));
    outputs.resize(schema.output_count);
    for (rt_tensor& t : inputs) input_list.push_back(&t);
    for (rt_tensor& t : outputs) output_list.push_back(&t);
    for (rt_attr& a : attrs) attr_list.push_back(&a);
    node.struct_size = sizeof node;
    node.op_version = schema.version;
    node.name = schema.op;
    node.op = schema.op;
    node.input_count = static_cast<std::uint32_t>(inputs.size());
    node.output_count = schema.output_count;
    node.attr_count = static_cast<std::uint32_t>(attrs.size());
    node.value_dtype = RT_F32;
    node.inputs = input_list.data();
    node.attrs = attr_list.data();
    node.bounds = &bounds;
    node.kv_dtype = schema.has_kv_state ? c.kv_dtype : 0;
    node.exact = 1;
    EXPECT_EQ(schema.infer(&plain_host(), &node, output_list.data()), RT_OK) << refusal;
    const_outputs.assign(output_list.begin(), output_list.end());
    node.outputs = const_outputs.data();
    node.step_class = RT_STEP_DECODE;
  }
  BoundNode(const BoundNode&) = delete;
  BoundNode& operator=(const BoundNode&) = delete;

  void fill_attrs(const Case& c, const rt_schema& schema) {
    for (std::uint32_t i = 0; i < schema.attr_count; ++i) {
      const rt_attr_spec& spec = *schema.attrs[i];
      rt_attr out = {sizeof(rt_attr), spec.type,      spec.name, spec.default_i,
                     spec.default_f,  spec.default_s, nullptr,   0};
      for (const Attr& given : c.attrs) {
        if (std::string_view(given.name) != spec.name) continue;
        out.i = static_cast<std::int64_t>(given.number);
        out.f = given.number;
        out.s = given.text;
        out.floats = given.list.data();
        out.count = given.list.size();
      }
      attrs.push_back(out);
    }
  }

  static rt_tensor tensor(const Input& input) {
    rt_tensor out{};
    out.struct_size = sizeof out;
    out.dtype = input.dtype;
    out.rank = static_cast<std::uint32_t>(input.shape.size());
    std::copy(input.shape.begin(), input.shape.end(), out.shape);
    return out;
  }

  std::vector<rt_attr> attrs;
  std::vector<rt_tensor> inputs;
  std::vector<rt_tensor> outputs;
  std::vector<const rt_tensor*> input_list;
  std::vector<rt_tensor*> output_list;
  std::vector<const rt_tensor*> const_outputs;
  std::vector<const rt_attr*> attr_list;
  rt_bounds bounds = {sizeof(rt_bounds), 8, 2, 2, 16};
  rt_node node{};
};

// Numbers in [-1, 1), the same on every side.
Bytes random_numbers(std::uint64_t count, rt_dtype dtype, std::uint32_t seed) {
  std::mt19937 generator(seed);
  Bytes out(count * sdk::dtype_bytes(dtype));
  for (std::uint64_t i = 0; i < count; ++i) {
    const float number = static_cast<float>(generator() >> 8) * 0x1p-23f - 1;
    sdk::store_number(out.data(), dtype, i, number);
  }
  return out;
}

// This step's shape.
std::uint64_t fill_symbols(rt_tensor& tensor, const StepArrays& arrays) {
  std::uint64_t count = 1;
  for (std::uint32_t i = 0; i < tensor.rank; ++i) {
    std::int64_t& size = tensor.shape[i];
    if (size == RT_DIM_TOKENS) size = static_cast<std::int64_t>(arrays.token_ids.size());
    if (size == RT_DIM_ROWS) size = static_cast<std::int64_t>(arrays.row_tokens.size());
    count *= static_cast<std::uint64_t>(size);
  }
  return count;
}

// The cache of both sequences: 3 stripes each, one allocation (affine, ring) or one per stripe,
// handed out from the last to the first (table).
struct Cache {
  Cache(const Case& c, const rt_tensor& k, const StepArrays& arrays, Side& side) {
    const std::uint64_t width = static_cast<std::uint64_t>(k.shape[1]);  // G*E
    const std::uint64_t row_bytes = width * sdk::dtype_bytes(c.kv_dtype);
    const std::uint64_t section = (kStripeTokens * row_bytes + 255) / 256 * 256;
    layout = {sizeof layout, c.kv_form, c.kv_dtype, kClass,    kStripeTokens, 2 * section,
              kRingStripes,  0,         section,    row_bytes, row_bytes};
    const std::uint64_t stripe_numbers = layout.stripe_bytes / sdk::dtype_bytes(c.kv_dtype);
    std::vector<std::uint64_t> bases(kClasses * arrays.lengths.size());
    std::vector<std::uint64_t> tables(bases.size());
    for (std::uint32_t b = 0; b < arrays.lengths.size(); ++b) {
      const std::size_t cell = kClass * arrays.lengths.size() + b;
      if (c.kv_form == RT_KV_TABLE) {
        std::vector<std::uint64_t> entries(kRingStripes);
        for (std::uint32_t i = kRingStripes; i-- > 0;) {
          entries[i] = keep(side, random_numbers(stripe_numbers, c.kv_dtype, 100 + 8 * b + i));
        }
        tables[cell] = reinterpret_cast<std::uint64_t>(side.put(entries));
      } else {
        bases[cell] =
            keep(side, random_numbers(kRingStripes * stripe_numbers, c.kv_dtype, 100 + b));
      }
    }
    kv_bases = side.put(bases);
    kv_tables = side.put(tables);
  }

  std::uint64_t keep(Side& side, const Bytes& image) {
    void* address = side.put(image);
    parts.push_back({address, image.size()});
    return reinterpret_cast<std::uint64_t>(address);
  }

  rt_kv_layout layout;
  const std::uint64_t* kv_bases;
  const std::uint64_t* kv_tables;
  std::vector<std::pair<void*, std::uint64_t>> parts;
};

rt_step step_on(Side& side, const StepArrays& arrays, const Cache* cache) {
  rt_step step{};
  step.struct_size = sizeof step;
  step.tokens = static_cast<std::uint32_t>(arrays.token_ids.size());
  step.sequences = static_cast<std::uint32_t>(arrays.lengths.size());
  step.rows = static_cast<std::uint32_t>(arrays.row_tokens.size());
  step.kv_classes = cache != nullptr ? kClasses : 0;
  step.token_ids = side.put(arrays.token_ids);
  step.positions = side.put(arrays.positions);
  step.token_sequence = side.put(arrays.token_sequence);
  step.token_offsets = side.put(arrays.token_offsets);
  step.lengths = side.put(arrays.lengths);
  step.row_tokens = side.put(arrays.row_tokens);
  step.rope_regimes = side.put(arrays.rope_regimes);
  step.sampling = side.put(arrays.sampling);
  step.history = side.put(arrays.history);
  step.kv_bases = cache != nullptr ? cache->kv_bases : nullptr;
  step.kv_tables = cache != nullptr ? cache->kv_tables : nullptr;
  return step;
}

}  // namespace

StepArrays::StepArrays() {
  for (rt_sampling& row : sampling) row = {0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 1234, 8, 0};
  sampling[1] = {0.8f, 0.9f, 0.01f, 1.2f, 0.1f, 0.2f, 6, 1, 3, 0, 1234, 9, 0};
}

std::vector<Bytes> run(const rt_implementation& implementation, const Case& c, Side& side,
                       const StepArrays& arrays, rt_status* status) {
  const rt_schema& schema = *schema_of(c.op);
  BoundNode bound(c, schema);
  void* self = nullptr;
  EXPECT_EQ(implementation.create(&plain_host(), &bound.node, &self), RT_OK) << refusal;

  std::uint32_t seed = 1;
  for (rt_tensor& t : bound.inputs) {
    t.data = side.put(random_numbers(fill_symbols(t, arrays), t.dtype, seed++));
  }
  std::vector<std::uint64_t> output_bytes;
  for (rt_tensor& t : bound.outputs) {
    output_bytes.push_back(fill_symbols(t, arrays) * sdk::dtype_bytes(t.dtype));
    t.data = side.put(Bytes(output_bytes.back()));
  }
  std::unique_ptr<Cache> cache;
  if (schema.has_kv_state) cache = std::make_unique<Cache>(c, bound.inputs[1], arrays, side);
  {
    // execute() keeps no pointer to these: they are gone when the work runs.
    auto step = std::make_unique<rt_step>(step_on(side, arrays, cache.get()));
    auto call = std::make_unique<rt_call>(
        rt_call{sizeof(rt_call), bound.node.input_count, bound.node.output_count, 0, &plain_host(),
                &side.exec(), step.get(), bound.node.inputs, bound.node.outputs, nullptr, nullptr,
                cache ? &cache->layout : nullptr});
    side.before_execute();
    const rt_status result = implementation.execute(self, call.get());
    if (status != nullptr) *status = result;
    if (status == nullptr) {
      EXPECT_EQ(result, RT_OK) << refusal;
    }
  }
  side.after_execute();
  implementation.destroy(self);  // with its work still queued, on the device

  std::vector<Bytes> out;
  if (status != nullptr) return out;
  for (std::size_t i = 0; i < output_bytes.size(); ++i) {
    out.push_back(side.get(bound.outputs[i].data, output_bytes[i]));
  }
  if (cache) {
    for (const auto& [address, bytes] : cache->parts) out.push_back(side.get(address, bytes));
  }
  return out;
}

const rt_schema* schema_of(const std::string& op) {
  const rt_plugin& plugin = reference_plugin();
  for (std::uint32_t i = 0; i < plugin.schema_count; ++i) {
    if (plugin.schemas[i]->op == op) return plugin.schemas[i];
  }
  return nullptr;
}

const rt_implementation* implementation_of(const rt_plugin& plugin, const std::string& op) {
  for (std::uint32_t i = 0; i < plugin.implementation_count; ++i) {
    if (plugin.implementations[i]->op == op) return plugin.implementations[i];
  }
  return nullptr;
}

}  // namespace rt::test
