// The C++20 comfort over the C boundary, header-only: write an operator as a class, throw
// sdk::Refusal with a reason, and get the C descriptor with every exception converted. planner.hpp
// does the same for memory planners. A device is written in C terms (device.h); guard() is for it.
//
//   struct RmsNorm {
//     static void supports(const sdk::Node& node);         // optional; throws Refusal
//     static void require(const sdk::Node& node, rt_requirements& need);   // optional
//     static void pack(const sdk::Node& node, uint32_t input, const rt_tensor& source,
//                      void* packed);                       // optional
//     explicit RmsNorm(const sdk::Node& node);              // create
//     void prepare(const rt_step& step, void* meta);        // optional
//     void execute(const sdk::Call& call);
//   };
//   constexpr rt_implementation kAvx2 = sdk::implementation<RmsNorm>({.op = "rms_norm", ...});
//
//   RT_LIBRARY("acme_norm", "1.0.0", kAvx2)                              // library.hpp
//
// An optional member that is missing becomes a NULL slot; one of that name with another signature
// than here (but for const and noexcept) is a compile error. The class is not final.
// Nothing here may be included by a file that is compiled for one instruction set (-mavx2, ...):
// inline functions compiled there could be the ones the linker keeps for every machine.
#pragma once

#if __cplusplus < 202002L
#error \
    "the SDK's C++ layer needs C++20 (-std=c++20); the C headers, plugin.h and what it includes, do not"
#endif

#include <atomic>
#include <concepts>
#include <cstdarg>
#include <cstdio>
#include <exception>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "core/sdk/library.hpp"
#include "core/sdk/member.hpp"
#include "core/sdk/plugin.h"

namespace rt::sdk {

// "I do not serve this": becomes status RT_UNSUPPORTED (or `status`) and the host prints `why`.
class Refusal : public std::exception {
 public:
  explicit Refusal(std::string why, rt_status status = RT_UNSUPPORTED)
      : why_(std::move(why)), status_(status) {}
  const char* what() const noexcept override { return why_.c_str(); }
  rt_status status() const noexcept { return status_; }

 private:
  std::string why_;
  rt_status status_;
};

// printf into a string of at most 511 bytes; for the text of refusals.
__attribute__((format(printf, 1, 2))) inline std::string format(const char* pattern, ...) {
  char text[512];
  std::va_list arguments;
  va_start(arguments, pattern);
  std::vsnprintf(text, sizeof text, pattern, arguments);
  va_end(arguments);
  return text;
}

// Runs `body`, turning exceptions into a status. The only place where a plugin catches.
template <class Body>
rt_status guard(const rt_host* host, Body&& body) noexcept {
  try {
    body();
    return RT_OK;
  } catch (const Refusal& refusal) {
    return host->fail(host, refusal.status(), refusal.what());
  } catch (const std::bad_alloc&) {
    return host->fail(host, RT_NO_MEMORY, "out of host memory");
  } catch (const std::exception& failure) {
    return host->fail(host, RT_INTERNAL, failure.what());
  } catch (...) {
    return host->fail(host, RT_INTERNAL, "an exception of unknown type");
  }
}

// Attributes by name. The host has checked them against the spec and filled in defaults, so a
// missing one is a mistake of the plugin (it reads what its schema does not declare).
class Attributes {
 public:
  Attributes(const rt_attr* const* attrs, std::uint32_t count) : attrs_(attrs), count_(count) {}

  const rt_attr* find(std::string_view name) const {
    for (std::uint32_t i = 0; i < count_; ++i) {
      if (name == attrs_[i]->name) return attrs_[i];
    }
    return nullptr;
  }
  const rt_attr& at(std::string_view name) const {
    const rt_attr* attr = find(name);
    if (attr == nullptr) {
      throw Refusal("no attribute '" + std::string(name) + "' in the schema", RT_INTERNAL);
    }
    return *attr;
  }
  std::int64_t integer(std::string_view name) const { return at(name).i; }
  double real(std::string_view name) const {
    const rt_attr& attr = at(name);
    return attr.type == RT_ATTR_INT ? static_cast<double>(attr.i) : attr.f;
  }
  bool boolean(std::string_view name) const { return at(name).i != 0; }
  std::string_view string(std::string_view name) const {
    const rt_attr& attr = at(name);
    return attr.s == nullptr ? "" : attr.s;
  }
  std::span<const double> floats(std::string_view name) const {
    const rt_attr& attr = at(name);
    return {attr.floats, static_cast<std::size_t>(attr.count)};
  }

 private:
  const rt_attr* const* attrs_;
  std::uint32_t count_;
};

// A node at bind time.
class Node {
 public:
  explicit Node(const rt_node* node) : node_(node), attrs_(node->attrs, node->attr_count) {}
  const rt_node& c() const { return *node_; }
  const Attributes& attrs() const { return attrs_; }
  const rt_tensor& input(std::uint32_t i) const { return *node_->inputs[i]; }
  const rt_tensor& output(std::uint32_t i) const { return *node_->outputs[i]; }
  std::uint32_t input_count() const { return node_->input_count; }
  const rt_device_desc& device() const { return *node_->device; }
  const rt_bounds& bounds() const { return *node_->bounds; }

  // Whether the device's description has this word in its `isa`.
  bool device_has(std::string_view word) const {
    const std::string list = std::string(",") + device().isa + ",";
    return list.find("," + std::string(word) + ",") != std::string::npos;
  }

 private:
  const rt_node* node_;
  Attributes attrs_;
};

// One execution. Shapes are this step's.
class Call {
 public:
  explicit Call(const rt_call* call) : call_(call) {}
  const rt_call& c() const { return *call_; }
  const rt_step& step() const { return *call_->step; }
  const rt_kv_layout& kv() const { return *call_->kv; }
  const rt_tensor& input(std::uint32_t i) const { return *call_->inputs[i]; }
  const rt_tensor& output(std::uint32_t i) const { return *call_->outputs[i]; }
  template <class T>
  const T* in(std::uint32_t i) const {
    return static_cast<const T*>(call_->inputs[i]->data);
  }
  template <class T>
  T* out(std::uint32_t i) const {
    return static_cast<T*>(call_->outputs[i]->data);
  }
  template <class T>
  T* workspace() const {
    return static_cast<T*>(call_->workspace);
  }
  // What prepare() wrote for this step.
  template <class T>
  const T* meta() const {
    return static_cast<const T*>(call_->meta);
  }

  std::uint32_t threads() const { return call_->exec->threads; }

  // body(begin, end, worker) over [0, count), on the device's pool; CPU devices only. Of the
  // exceptions that leave body the first is thrown here, after all ranges have been run.
  template <class Body>
  void parallel_for(std::uint64_t count, std::uint64_t grain, Body&& body) const {
    struct Loop {
      std::remove_reference_t<Body>* body;
      std::atomic_flag failed;
      std::exception_ptr failure;
    } loop{&body, {}, {}};
    const rt_range_fn run = [](void* arg, std::uint64_t begin, std::uint64_t end,
                               std::uint32_t worker) {
      Loop& self = *static_cast<Loop*>(arg);
      try {
        (*self.body)(begin, end, worker);
      } catch (...) {
        if (!self.failed.test_and_set()) self.failure = std::current_exception();
      }
    };
    call_->exec->parallel_for(call_->exec->device, count, grain, run, &loop);
    if (loop.failure) std::rethrow_exception(loop.failure);
  }

 private:
  const rt_call* call_;
};

// What of an rt_implementation is not a function.
struct ImplementationInfo {
  const char* op;
  std::uint32_t op_version = 1;
  const char* name;
  const char* device_kind;
  const char* isa = "";
  std::uint32_t step_classes = RT_STEP_DECODE | RT_STEP_PREFILL;
  std::uint32_t traits = RT_TRAIT_EXACT | RT_TRAIT_CAPTURE_SAFE;
  std::int32_t tier = 100;
  std::uint32_t weight_dtypes = 0;
};

RT_SDK_NAMES(supports)
RT_SDK_NAMES(require)
RT_SDK_NAMES(pack)
RT_SDK_NAMES(prepare)

// Exactly, because what only can be called may do something else: rt_requirements by value would be
// filled in and lost, and a status that is returned would be seen by nobody.
template <class Op>
concept has_supports = requires {
  static_cast<void (*)(const Node&)>(&Op::supports);
};
template <class Op>
concept has_require = requires {
  static_cast<void (*)(const Node&, rt_requirements&)>(&Op::require);
};
template <class Op>
concept has_pack = requires {
  static_cast<void (*)(const Node&, std::uint32_t, const rt_tensor&, void*)>(&Op::pack);
};
template <class Op>
concept has_prepare = requires {
  static_cast<void (Op::*)(const rt_step&, void*)>(&Op::prepare);
}
|| requires {
  static_cast<void (Op::*)(const rt_step&, void*) const>(&Op::prepare);
};
template <class Op>
concept has_execute = requires {
  static_cast<void (Op::*)(const Call&)>(&Op::execute);
}
|| requires {
  static_cast<void (Op::*)(const Call&) const>(&Op::execute);
};

template <class Op>
constexpr void set_bind_functions(rt_implementation& out) {
  if constexpr (names_supports<Op>) {
    static_assert(has_supports<Op>, "expected `static void supports(const sdk::Node&)`");
    out.supports = [](const rt_host* host, const rt_node* node) {
      return guard(host, [&] { Op::supports(Node(node)); });
    };
  }
  if constexpr (names_require<Op>) {
    static_assert(has_require<Op>,
                  "expected `static void require(const sdk::Node&, rt_requirements&)`");
    out.require = [](const rt_host* host, const rt_node* node, rt_requirements* need) {
      return guard(host, [&] { Op::require(Node(node), *need); });
    };
  }
  if constexpr (names_pack<Op>) {
    static_assert(has_pack<Op>,
                  "expected `static void pack(const sdk::Node&, uint32_t, const rt_tensor&, "
                  "void*)`");
    out.pack = [](const rt_host* host, const rt_node* node, std::uint32_t input,
                  const rt_tensor* source, void* packed) {
      return guard(host, [&] { Op::pack(Node(node), input, *source, packed); });
    };
  }
  static_assert(std::constructible_from<Op, const Node&>, "expected `Op(const sdk::Node&)`");
  out.create = [](const rt_host* host, const rt_node* node, void** self) {
    return guard(host, [&] { *self = new Op(Node(node)); });
  };
}

template <class Op>
constexpr void set_step_functions(rt_implementation& out) {
  if constexpr (names_prepare<Op>) {
    static_assert(has_prepare<Op>, "expected `void prepare(const rt_step&, void*)`");
    out.prepare = [](const rt_host* host, void* self, const rt_step* step, void* meta) {
      return guard(host, [&] { static_cast<Op*>(self)->prepare(*step, meta); });
    };
  }
  static_assert(has_execute<Op>, "expected `void execute(const sdk::Call&)`");
  out.execute = [](void* self, const rt_call* call) {
    return guard(call->host, [&] { static_cast<Op*>(self)->execute(Call(call)); });
  };
  out.destroy = [](void* self) { delete static_cast<Op*>(self); };
}

template <class Op>
constexpr rt_implementation implementation(const ImplementationInfo& info) {
  rt_implementation out{};
  out.struct_size = sizeof(rt_implementation);
  out.op = info.op;
  out.op_version = info.op_version;
  out.name = info.name;
  out.device_kind = info.device_kind;
  out.isa = info.isa;
  out.step_classes = info.step_classes;
  out.traits = info.traits;
  out.tier = info.tier;
  out.weight_dtypes = info.weight_dtypes;
  set_bind_functions<Op>(out);
  set_step_functions<Op>(out);
  return out;
}

// Shorthands for descriptors; each sets struct_size.
constexpr rt_fusion fusion(const char* op, std::uint32_t version, const char* summary,
                           const char* pattern) {
  return {sizeof(rt_fusion), version, op, summary, pattern};
}
constexpr rt_port value_port(const char* name, std::uint32_t rank, const char* shape,
                             std::uint32_t dtypes) {
  return {sizeof(rt_port), RT_PORT_VALUE, name, dtypes, rank, shape};
}
// The types of weights that are read element by element, and those of matrices, which may be
// quantized (weight_format.hpp) too.
constexpr std::uint32_t kDenseTypes =
    RT_DTYPE_BIT(RT_F32) | RT_DTYPE_BIT(RT_BF16) | RT_DTYPE_BIT(RT_F16);
constexpr std::uint32_t kMatrixTypes =
    kDenseTypes | RT_DTYPE_BIT(RT_W_INT8) | RT_DTYPE_BIT(RT_W_NF4) | RT_DTYPE_BIT(RT_W_NF4_DQ);
constexpr rt_port weight_port(const char* name, std::uint32_t rank, const char* shape,
                              std::uint32_t dtypes = kDenseTypes) {
  return {sizeof(rt_port), RT_PORT_WEIGHT, name, dtypes, rank, shape};
}
constexpr rt_attr_spec int_attr(const char* name, double minimum, double maximum, const char* doc) {
  return {
      sizeof(rt_attr_spec), RT_ATTR_INT, name, 1, 0, 0, 0, nullptr, minimum, maximum, nullptr, doc};
}
constexpr rt_attr_spec int_attr_or(const char* name, std::int64_t otherwise, double minimum,
                                   double maximum, const char* doc) {
  return {sizeof(rt_attr_spec),
          RT_ATTR_INT,
          name,
          0,
          0,
          otherwise,
          0,
          nullptr,
          minimum,
          maximum,
          nullptr,
          doc};
}
constexpr rt_attr_spec real_attr(const char* name, double minimum, double maximum,
                                 const char* doc) {
  return {sizeof(rt_attr_spec),
          RT_ATTR_FLOAT,
          name,
          1,
          0,
          0,
          0,
          nullptr,
          minimum,
          maximum,
          nullptr,
          doc};
}
constexpr rt_attr_spec real_attr_or(const char* name, double otherwise, double minimum,
                                    double maximum, const char* doc) {
  return {sizeof(rt_attr_spec),
          RT_ATTR_FLOAT,
          name,
          0,
          0,
          0,
          otherwise,
          nullptr,
          minimum,
          maximum,
          nullptr,
          doc};
}
constexpr rt_attr_spec bool_attr_or(const char* name, bool otherwise, const char* doc) {
  return {
      sizeof(rt_attr_spec), RT_ATTR_BOOL, name, 0, 0, otherwise, 0, nullptr, 0, 1, nullptr, doc};
}
constexpr rt_attr_spec string_attr_or(const char* name, const char* otherwise, const char* choices,
                                      const char* doc) {
  return {sizeof(rt_attr_spec), RT_ATTR_STRING, name, 0, 0, 0, 0, otherwise, 0, 0, choices, doc};
}
// Lists of numbers are optional and empty by default.
constexpr rt_attr_spec floats_attr(const char* name, const char* doc) {
  return {sizeof(rt_attr_spec), RT_ATTR_FLOATS, name, 0, 0, 0, 0, nullptr, 0, 0, nullptr, doc};
}

// Bytes of one element. 0 for an unknown type and for the quantized types of KV caches, which have
// bytes per row (kv_row.hpp).
constexpr std::uint64_t dtype_bytes(rt_dtype dtype) {
  switch (dtype) {
    case RT_F64:
    case RT_I64:
      return 8;
    case RT_F32:
    case RT_I32:
      return 4;
    case RT_BF16:
    case RT_F16:
      return 2;
    case RT_I8:
    case RT_U8:
      return 1;
    default:
      return 0;
  }
}

constexpr const char* dtype_name(rt_dtype dtype) {
  switch (dtype) {
    case RT_F32:
      return "f32";
    case RT_BF16:
      return "bf16";
    case RT_F16:
      return "f16";
    case RT_F64:
      return "f64";
    case RT_I32:
      return "i32";
    case RT_I64:
      return "i64";
    case RT_I8:
      return "i8";
    case RT_U8:
      return "u8";
    case RT_KV_INT8:
      return "int8";
    case RT_KV_Q8_0:
      return "q8_0";
    case RT_KV_Q4_0:
      return "q4_0";
    case RT_W_INT8:
      return "int8";
    case RT_W_NF4:
      return "nf4";
    case RT_W_NF4_DQ:
      return "nf4-dq";
    default:
      return "unknown";
  }
}

}  // namespace rt::sdk
