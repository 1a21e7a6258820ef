// Hand-made schemas of the operators that the shipped graphs name, so that this layer is tested
// without a plugin. Shapes and attributes only; their meaning is the plugins' business.
#pragma once

#include <cstring>
#include <list>
#include <string>
#include <vector>

#include "core/graph/expand.h"

namespace rt::testing {

constexpr std::uint32_t kAnyFloat =
    RT_DTYPE_BIT(RT_F32) | RT_DTYPE_BIT(RT_BF16) | RT_DTYPE_BIT(RT_F16);

inline std::int64_t int_attr(const rt_node* node, const char* name) {
  for (std::uint32_t a = 0; a < node->attr_count; ++a) {
    if (std::strcmp(node->attrs[a]->name, name) == 0) return node->attrs[a]->i;
  }
  return 0;
}

inline void set(rt_tensor* out, rt_dtype dtype, std::vector<std::int64_t> shape) {
  out->dtype = dtype;
  out->rank = static_cast<std::uint32_t>(shape.size());
  std::copy(shape.begin(), shape.end(), out->shape);
}

inline rt_status refuse(const rt_host* host, const std::string& why) {
  return host->fail(host, RT_INVALID, why.c_str());
}

// Owns schemas and everything they point to.
class SchemaShelf {
 public:
  using Infer = rt_status (*)(const rt_host*, const rt_node*, rt_tensor* const*);

  rt_schema& add(const char* op, std::vector<rt_port> inputs, std::vector<rt_port> outputs,
                 std::vector<rt_attr_spec> attrs, Infer infer) {
    Shelf& shelf = shelves_.emplace_back();
    shelf.inputs = std::move(inputs);
    shelf.outputs = std::move(outputs);
    shelf.attrs = std::move(attrs);
    for (const rt_port& port : shelf.inputs) shelf.input_pointers.push_back(&port);
    for (const rt_port& port : shelf.outputs) shelf.output_pointers.push_back(&port);
    for (const rt_attr_spec& spec : shelf.attrs) shelf.attr_pointers.push_back(&spec);
    rt_schema& schema = shelf.schema;
    schema.struct_size = sizeof schema;
    schema.version = 1;
    schema.op = op;
    schema.summary = "";
    schema.input_count = static_cast<std::uint32_t>(shelf.inputs.size());
    schema.output_count = static_cast<std::uint32_t>(shelf.outputs.size());
    schema.attr_count = static_cast<std::uint32_t>(shelf.attrs.size());
    schema.inputs = shelf.input_pointers.data();
    schema.outputs = shelf.output_pointers.data();
    schema.attrs = shelf.attr_pointers.data();
    schema.infer = infer;
    set_.add(&schema);
    return schema;
  }

  const SchemaSet& set() const { return set_; }

 private:
  struct Shelf {
    std::vector<rt_port> inputs, outputs;
    std::vector<rt_attr_spec> attrs;
    std::vector<const rt_port*> input_pointers, output_pointers;
    std::vector<const rt_attr_spec*> attr_pointers;
    rt_schema schema{};
  };
  std::list<Shelf> shelves_;
  SchemaSet set_;
};

inline rt_port value(const char* name, std::uint32_t rank, const char* shape,
                     std::uint32_t dtypes = kAnyFloat) {
  return {sizeof(rt_port), RT_PORT_VALUE, name, dtypes, rank, shape};
}
inline rt_port weight(const char* name, std::uint32_t rank, const char* shape) {
  return {sizeof(rt_port), RT_PORT_WEIGHT, name, kAnyFloat, rank, shape};
}
inline rt_attr_spec spec(rt_attr_type type, const char* name, bool required = true) {
  rt_attr_spec out{};
  out.struct_size = sizeof out;
  out.type = type;
  out.name = name;
  out.required = required ? 1 : 0;
  out.doc = "";
  return out;
}
inline rt_attr_spec integer(const char* name, double minimum, double maximum) {
  rt_attr_spec out = spec(RT_ATTR_INT, name);
  out.minimum = minimum;
  out.maximum = maximum;
  return out;
}
inline rt_attr_spec real(const char* name, double minimum, double maximum) {
  rt_attr_spec out = spec(RT_ATTR_FLOAT, name);
  out.minimum = minimum;
  out.maximum = maximum;
  return out;
}
inline rt_attr_spec optional(rt_attr_spec spec, double fallback) {
  spec.required = 0;
  spec.default_i = static_cast<std::int64_t>(fallback);
  spec.default_f = fallback;
  return spec;
}
inline rt_attr_spec word(const char* name, const char* choices, const char* fallback) {
  rt_attr_spec out = spec(RT_ATTR_STRING, name, fallback == nullptr);
  out.choices = choices;
  out.default_s = fallback;
  return out;
}

inline rt_status infer_same(const rt_host*, const rt_node* node, rt_tensor* const* out) {
  const rt_tensor& x = *node->inputs[0];
  set(out[0], node->value_dtype, {x.shape[0], x.shape[1]});
  return RT_OK;
}

inline rt_status infer_add(const rt_host* host, const rt_node* node, rt_tensor* const* out) {
  if (std::memcmp(node->inputs[0]->shape, node->inputs[1]->shape, 2 * sizeof(std::int64_t)) != 0) {
    return refuse(host, "expected two values of one shape");
  }
  return infer_same(host, node, out);
}

inline rt_status infer_linear(const rt_host* host, const rt_node* node, rt_tensor* const* out) {
  const rt_tensor& x = *node->inputs[0];
  const rt_tensor& w = *node->inputs[1];
  if (x.shape[1] != w.shape[1]) {
    return refuse(host, "expected x of width " + std::to_string(w.shape[1]) + ", found " +
                            std::to_string(x.shape[1]));
  }
  set(out[0], node->value_dtype, {x.shape[0], w.shape[0]});
  return RT_OK;
}

inline rt_status infer_norm(const rt_host* host, const rt_node* node, rt_tensor* const* out) {
  if (node->inputs[0]->shape[1] != node->inputs[1]->shape[0]) {
    return refuse(host, "the weight is not as wide as x");
  }
  return infer_same(host, node, out);
}

inline rt_status infer_attention(const rt_host* host, const rt_node* node, rt_tensor* const* out) {
  const std::int64_t width = int_attr(node, "head_width");
  if (node->inputs[0]->shape[1] != int_attr(node, "heads") * width ||
      node->inputs[1]->shape[1] != int_attr(node, "kv_heads") * width ||
      node->inputs[2]->shape[1] != int_attr(node, "kv_heads") * width) {
    return refuse(host, "q, k or v is not heads x head_width wide");
  }
  return infer_same(host, node, out);
}

// The table of /plugins, in miniature.
inline void add_operators(SchemaShelf& shelf) {
  shelf.add("embedding", {weight("table", 2, "[V, D]")}, {value("out", 2, "[T, D]")},
            {optional(real("scale", 0, 1e9), 1)},
            [](const rt_host*, const rt_node* node, rt_tensor* const* out) -> rt_status {
              set(out[0], node->value_dtype, {RT_DIM_TOKENS, node->inputs[0]->shape[1]});
              return RT_OK;
            });
  shelf.add("rms_norm", {value("x", 2, "[*, D]"), weight("weight", 1, "[D]")},
            {value("out", 2, "[*, D]")}, {real("eps", 0, 1), spec(RT_ATTR_BOOL, "plus_one", false)},
            infer_norm);
  shelf.add("linear", {value("x", 2, "[*, K]"), weight("weight", 2, "[N, K]")},
            {value("out", 2, "[*, N]")}, {}, infer_linear);
  shelf.add(
      "rope_angles", {}, {value("cos", 2, "[T, E/2]"), value("sin", 2, "[T, E/2]")},
      {integer("head_width", 2, 4096), real("base", 1, 1e12),
       word("scaling", "none|llama3|longrope|linear", "none"),
       optional(real("factor", 1e-9, 1e9), 1), optional(real("low_freq_factor", 0, 1e9), 1),
       optional(real("high_freq_factor", 0, 1e9), 4),
       optional(integer("original_context", 0, 2147483647.0), 0),
       spec(RT_ATTR_FLOATS, "short_factors", false), spec(RT_ATTR_FLOATS, "long_factors", false),
       optional(real("attention_factor", 0, 1e9), 1)},
      [](const rt_host*, const rt_node* node, rt_tensor* const* out) -> rt_status {
        const std::int64_t half = int_attr(node, "head_width") / 2;
        set(out[0], node->value_dtype, {RT_DIM_TOKENS, half});
        set(out[1], node->value_dtype, {RT_DIM_TOKENS, half});
        return RT_OK;
      });
  shelf.add("rope",
            {value("x", 2, "[T, H*E]"), value("cos", 2, "[T, E/2]"), value("sin", 2, "[T, E/2]")},
            {value("out", 2, "[T, H*E]")}, {integer("head_width", 2, 4096)}, infer_same);
  shelf
      .add("attention",
           {value("q", 2, "[T, H*E]"), value("k", 2, "[T, G*E]"), value("v", 2, "[T, G*E]")},
           {value("out", 2, "[T, H*E]")},
           {integer("heads", 1, 4096), integer("kv_heads", 1, 4096), integer("head_width", 1, 256),
            real("scale", 0, 1e9), optional(real("softcap", 0, 1e9), 0),
            optional(integer("window", 0, 2147483647.0), 0)},
           infer_attention)
      .has_kv_state = 1;
  shelf.add("mlp",
            {value("x", 2, "[T, D]"), weight("gate", 2, "[F, D]"), weight("up", 2, "[F, D]"),
             weight("down", 2, "[D, F]")},
            {value("out", 2, "[T, D]")}, {word("activation", "silu|gelu_tanh", nullptr)},
            infer_same);
  shelf.add("add", {value("a", 2, "[*, D]"), value("b", 2, "[*, D]")}, {value("out", 2, "[*, D]")},
            {}, infer_add);
  shelf.add("softcap", {value("x", 2, "[*, V]")}, {value("out", 2, "[*, V]")},
            {real("cap", 1e-9, 1e9)}, infer_same);
  shelf.add("select_rows", {value("x", 2, "[T, D]")}, {value("out", 2, "[R, D]")}, {},
            [](const rt_host*, const rt_node* node, rt_tensor* const* out) -> rt_status {
              set(out[0], node->value_dtype, {RT_DIM_ROWS, node->inputs[0]->shape[1]});
              return RT_OK;
            });
  shelf.add("sample", {value("logits", 2, "[R, V]")},
            {value("ids", 1, "[R]", RT_DTYPE_BIT(RT_I32))}, {},
            [](const rt_host*, const rt_node*, rt_tensor* const* out) -> rt_status {
              set(out[0], RT_I32, {RT_DIM_ROWS});
              return RT_OK;
            });
}

// The shelf most tests use.
inline const SchemaSet& operators() {
  static const SchemaShelf* shelf = [] {
    auto* made = new SchemaShelf;
    add_operators(*made);
    return made;
  }();
  return shelf->set();
}

}  // namespace rt::testing
