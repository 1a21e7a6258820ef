// The complete check of a descriptor: a good one, and one change for every way to be wrong.
#include "core/plugin/descriptor.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

namespace rt {
namespace {

rt_status infer(const rt_host*, const rt_node*, rt_tensor* const*) {
  return RT_OK;
}
rt_status create(const rt_host*, const rt_node*, void**) {
  return RT_OK;
}
rt_status execute(void*, const rt_call*) {
  return RT_OK;
}
void destroy(void*) {}

// A plugin with one of everything, and the manifest that goes with it.
struct Whole {
  rt_port x{sizeof(rt_port), RT_PORT_VALUE, "x", RT_DTYPE_BIT(RT_F32), 2, "[T, D]"};
  rt_port w{sizeof(rt_port), RT_PORT_WEIGHT, "w", RT_DTYPE_BIT(RT_BF16), 1, "[D]"};
  rt_port y{sizeof(rt_port), RT_PORT_VALUE, "y", RT_DTYPE_BIT(RT_F32), 2, "[T, D]"};
  rt_attr_spec eps{
      sizeof(rt_attr_spec),  RT_ATTR_FLOAT, "eps", 0, 0, 0, 1e-6, nullptr, 0, 1, nullptr,
      "added below the root"};
  rt_attr_spec kind{
      sizeof(rt_attr_spec), RT_ATTR_STRING, "kind", 0, 0, 0, 0, "silu", 0, 0, "silu|gelu", ""};
  std::vector<const rt_port*> inputs{&x, &w};
  std::vector<const rt_port*> outputs{&y};
  std::vector<const rt_attr_spec*> attrs{&eps, &kind};
  rt_schema schema{};
  rt_implementation reference{};
  rt_implementation fast{};
  rt_planner planner{};
  rt_device device{};
  rt_fusion fusion{sizeof(rt_fusion), 1, "acme.norm_add", "z = norm(x, w) + x",
                   "in: [x, w]\nout: z\nnodes:\n  - {op: acme.norm, in: [x, w], out: y}\n"
                   "  - {op: add, in: [y, x], out: z}\n"};
  std::vector<const rt_fusion*> fusions{&fusion};
  std::vector<const rt_schema*> schemas{&schema};
  std::vector<const rt_implementation*> implementations{&reference, &fast};
  std::vector<const rt_planner*> planners{&planner};
  std::vector<const rt_device*> devices{&device};
  rt_plugin plugin{};
  Manifest manifest{
      "acme",
      "1.0",
      0,
      1,
      1,
      {{"acme.norm", 1}},
      {{{"acme.norm", 1}, "cpu", "reference", ""}, {{"acme.norm", 1}, "cpu", "fast", "avx2,fma"}},
      {"roomy"},
      {"toy"},
      {{{"acme.norm_add", 1}, {{"acme.norm", 1}, {"add", 1}}}}};

  Whole() {
    schema = {.struct_size = sizeof(rt_schema),
              .version = 1,
              .op = "acme.norm",
              .summary = "y = norm(x)",
              .input_count = 2,
              .output_count = 1,
              .attr_count = 2,
              .has_kv_state = 0,
              .inputs = inputs.data(),
              .outputs = outputs.data(),
              .attrs = attrs.data(),
              .infer = infer,
              .tolerance_absolute = 0,
              .tolerance_relative = 1e-6};
    reference.struct_size = sizeof reference;
    reference.op = "acme.norm";
    reference.op_version = 1;
    reference.name = "reference";
    reference.device_kind = "cpu";
    reference.isa = "";
    reference.step_classes = RT_STEP_DECODE | RT_STEP_PREFILL;
    reference.create = create;
    reference.execute = execute;
    reference.destroy = destroy;
    fast = reference;
    fast.name = "fast";
    fast.isa = "avx2,fma";
    planner.struct_size = sizeof planner;
    planner.name = "roomy";
    planner.summary = "room for all";
    planner.plan = [](const rt_host*, const rt_plan_problem*, rt_plan_sink*) {
      return rt_status{RT_OK};
    };
    planner.capacity = [](const rt_host*, const rt_plan_problem*, std::uint32_t, std::uint32_t,
                          const rt_plan_sequence* const*,
                          std::uint64_t*) { return rt_status{RT_OK}; };
    fill_device();
    plugin = {.struct_size = sizeof(rt_plugin),
              .abi_major = RT_ABI_MAJOR,
              .abi_minor = RT_ABI_MINOR,
              .min_host_minor = 1,
              .name = "acme",
              .version = "1.0",
              .schema_count = 1,
              .implementation_count = 2,
              .planner_count = 1,
              .device_count = 1,
              .schemas = schemas.data(),
              .implementations = implementations.data(),
              .planners = planners.data(),
              .devices = devices.data(),
              .fusion_count = 1,
              .reserved = 0,
              .fusions = fusions.data()};
  }

  void fill_device() {
    device.struct_size = sizeof device;
    device.kind = "toy";
    device.summary = "for tests";
    device.count = [](const rt_host*, std::uint32_t*) { return rt_status{RT_OK}; };
    device.describe = [](const rt_host*, std::uint32_t, std::uint32_t, const rt_attr* const*,
                         rt_device_desc*) { return rt_status{RT_OK}; };
    device.open = [](const rt_host*, std::uint32_t, std::uint32_t, const rt_attr* const*, void**) {
      return rt_status{RT_OK};
    };
    device.close = [](void*) {};
    device.allocate = [](void*, std::uint64_t, void**) { return rt_status{RT_OK}; };
    device.release = [](void*, void*, std::uint64_t) {};
    device.stream_create = [](void*, void**) { return rt_status{RT_OK}; };
    device.stream_destroy = [](void*, void*) {};
    device.synchronize = [](void*, void*) { return rt_status{RT_OK}; };
    device.upload = [](void*, void*, void*, const void*, std::uint64_t) {
      return rt_status{RT_OK};
    };
    device.download = device.upload;
    device.copy = device.upload;
  }
};

std::string refusal(const std::function<void(Whole&)>& change) {
  Whole whole;
  change(whole);
  const Status status = check_descriptor(whole.plugin, whole.manifest);
  return status.ok() ? "" : status.error().message;
}

TEST(Descriptor, AWholeOneIsAccepted) {
  EXPECT_EQ(refusal([](Whole&) {}), "");
  // Structs of a later minor are longer.
  EXPECT_EQ(refusal([](Whole& w) {
              w.plugin.struct_size += 64;
              w.schema.struct_size += 8;
              w.planner.struct_size += 8;
            }),
            "");
}

struct Wrong {
  std::string text;
  std::function<void(Whole&)> change;
};

void expect_refusals(const std::vector<Wrong>& cases) {
  for (const Wrong& item : cases) {
    const std::string found = refusal(item.change);
    EXPECT_EQ(found.substr(0, item.text.size()), item.text);
  }
}

TEST(Descriptor, Frame) {
  expect_refusals({
      {"expected rt_plugin.struct_size of at least 80, found 79",
       [](Whole& w) { w.plugin.struct_size = 79; }},
      {"expected a plugin for ABI 0.1, found 1.1 that needs at least 1.1",
       [](Whole& w) { w.plugin.abi_major = 1; }},
      {"expected a plugin for ABI 0.1, found 0.1 that needs at least 0.5",
       [](Whole& w) { w.plugin.min_host_minor = 5; }},
      {"expected rt_plugin.name to be a name of [a-z0-9_], found NULL",
       [](Whole& w) { w.plugin.name = nullptr; }},
      {"expected rt_plugin.name to be a name of [a-z0-9_], found 'Acme'",
       [](Whole& w) { w.plugin.name = "Acme"; }},
      {"rt_plugin.version is NULL", [](Whole& w) { w.plugin.version = nullptr; }},
      {"expected at most 4096 of schemas, found 4294967295",
       [](Whole& w) { w.plugin.schema_count = UINT32_MAX; }},
      {"implementations is NULL", [](Whole& w) { w.plugin.implementations = nullptr; }},
      {"planners[0] is NULL", [](Whole& w) { w.planners[0] = nullptr; }},
      {"expected devices[0].struct_size of at least", [](Whole& w) { w.device.struct_size = 8; }},
  });
}

TEST(Descriptor, Fusions) {
  expect_refusals({
      {"expected fusion.op to be a name of [a-z0-9_], found 'acme norm'",
       [](Whole& w) { w.fusion.op = "acme norm"; }},
      {"fusion acme.norm_add@0: expected version >= 1, found 0",
       [](Whole& w) { w.fusion.version = 0; }},
      {"fusion acme.norm_add@1: summary is NULL", [](Whole& w) { w.fusion.summary = nullptr; }},
      {"fusion acme.norm_add@1: pattern is NULL", [](Whole& w) { w.fusion.pattern = nullptr; }},
      {"pattern of acme.norm_add@1:4:29: nothing makes 'y'",
       [](Whole& w) {
         w.fusion.pattern = "in: x\nout: z\nnodes:\n  - {op: acme.norm, in: [x, y], out: z}\n";
       }},
      {"the manifest says fusion 'acme.norm_add@1 acme.norm@1 add@1', the plugin holds no such",
       [](Whole& w) {
         w.fusion.pattern = "in: x\nout: z\nnodes:\n  - {op: add, in: [x, x], out: z}\n";
       }},
      {"the manifest says fusion 'acme.norm_add@1 acme.norm@1 add@1', the plugin holds no such",
       [](Whole& w) { w.plugin.fusion_count = 0; }},
      {"expected fusions[0].struct_size of at least", [](Whole& w) { w.fusion.struct_size = 8; }},
      {"expected rt_plugin.reserved to be 0, found 1", [](Whole& w) { w.plugin.reserved = 1; }},
      {"two fusions are named 'acme.norm_add@1'",
       [](Whole& w) {
         w.fusions = {&w.fusion, &w.fusion};
         w.plugin.fusions = w.fusions.data();
         w.plugin.fusion_count = 2;
       }},
  });
}

TEST(Descriptor, Schemas) {
  expect_refusals({
      {"expected schema.op to be a name of [a-z0-9_], found 'acme.'",
       [](Whole& w) { w.schema.op = "acme."; }},
      {"schema acme.norm@1: summary is NULL", [](Whole& w) { w.schema.summary = nullptr; }},
      {"schema acme.norm@1: infer is NULL", [](Whole& w) { w.schema.infer = nullptr; }},
      {"schema acme.norm@1: expected at most 16 of inputs, found 17",
       [](Whole& w) { w.schema.input_count = 17; }},
      {"schema acme.norm@0: expected version >= 1, an output, and has_kv_state 0 or 1, found 0, 1 "
       "outputs, 0",
       [](Whole& w) { w.schema.version = 0; }},
      {"schema acme.norm@1: expected version >= 1, an output, and has_kv_state 0 or 1, found 1, 0",
       [](Whole& w) { w.schema.output_count = 0; }},
      {"schema acme.norm@1: expected version >= 1, an output, and has_kv_state 0 or 1, found 1, 1 "
       "outputs, 9",
       [](Whole& w) { w.schema.has_kv_state = 9; }},
      {"schema acme.norm@1: expected tolerances to be finite and not negative, found nan",
       [](Whole& w) { w.schema.tolerance_absolute = std::nan(""); }},
      {"schema acme.norm@1: expected tolerances to be finite and not negative, found 0.000000 and "
       "inf",
       [](Whole& w) { w.schema.tolerance_relative = std::numeric_limits<double>::infinity(); }},
      {"two schemas are named 'acme.norm@1'",
       [](Whole& w) {
         w.schemas = {&w.schema, &w.schema};
         w.plugin.schemas = w.schemas.data();
         w.plugin.schema_count = 2;
       }},
      {"schema acme.norm@1: expected inputs to be a name of [a-z0-9_], found ''",
       [](Whole& w) { w.x.name = ""; }},
      {"schema acme.norm@1: two inputs are named 'x'", [](Whole& w) { w.w.name = "x"; }},
      {"schema acme.norm@1: port 'y': expected a value (or, of an input, a weight), known element "
       "types and a rank of at most 4, found kind 2, types 2, rank 2",
       [](Whole& w) { w.y.kind = RT_PORT_WEIGHT; }},
      {"schema acme.norm@1: port 'x': expected a value", [](Whole& w) { w.x.kind = 7; }},
      {"schema acme.norm@1: port 'x': expected a value", [](Whole& w) { w.x.dtypes = 0; }},
      {"schema acme.norm@1: port 'x': expected a value", [](Whole& w) { w.x.dtypes = 1u << 30; }},
      {"schema acme.norm@1: port 'x': expected a value", [](Whole& w) { w.x.rank = 5; }},
      {"schema acme.norm@1 has no implementation named 'reference' for the cpu; add one in double",
       [](Whole& w) { w.reference.name = "slow"; }},
      {"schema acme.norm@1 has no implementation named 'reference' for the cpu; add one in double",
       [](Whole& w) { w.reference.isa = "avx2"; }},
  });
}

TEST(Descriptor, Attributes) {
  const std::string eps = "schema acme.norm@1: attribute 'eps': ";
  const std::string kind = "schema acme.norm@1: attribute 'kind': ";
  expect_refusals({
      {"schema acme.norm@1: expected attrs to be a name of [a-z0-9_], found NULL",
       [](Whole& w) { w.eps.name = nullptr; }},
      {"schema acme.norm@1: two attributes are named 'eps'", [](Whole& w) { w.kind.name = "eps"; }},
      {eps + "expected a known type and required 0 or 1, found type 0, required 0",
       [](Whole& w) { w.eps.type = 0; }},
      {eps + "expected a known type and required 0 or 1, found type 6, required 0",
       [](Whole& w) { w.eps.type = 6; }},
      {eps + "expected a known type and required 0 or 1, found type 2, required 2",
       [](Whole& w) { w.eps.required = 2; }},
      {eps + "expected reserved to be 0, found 3", [](Whole& w) { w.eps.reserved = 3; }},
      {eps + "its minimum 2.000000 is above its maximum 1.000000",
       [](Whole& w) { w.eps.minimum = 2; }},
      {eps + "its minimum nan is above its maximum",
       [](Whole& w) { w.eps.minimum = std::nan(""); }},
      {eps + "its default 5.000000 is outside [0.000000, 1.000000]",
       [](Whole& w) { w.eps.default_f = 5; }},
      {"",
       [](Whole& w) {
         w.eps.default_f = 5;
         w.eps.required = 1;
       }},
      {eps + "its default 5.000000 is outside [0.000000, 1.000000]",
       [](Whole& w) {
         w.eps.type = RT_ATTR_INT;
         w.eps.default_i = 5;
       }},
      {eps + "expected its default to be 0 or 1, found 2",
       [](Whole& w) {
         w.eps.type = RT_ATTR_BOOL;
         w.eps.default_i = 2;
       }},
      {kind + "its default 'relu' is none of 'silu|gelu'",
       [](Whole& w) { w.kind.default_s = "relu"; }},
      {kind + "its default '' is none of 'silu|gelu'",
       [](Whole& w) { w.kind.default_s = nullptr; }},
  });
}

TEST(Descriptor, Implementations) {
  const std::string where = "implementation of acme.norm@1: ";
  expect_refusals({
      {"expected implementation.op to be a name of [a-z0-9_], found NULL",
       [](Whole& w) { w.fast.op = nullptr; }},
      {where + "expected name to be a name of [a-z0-9_], found 'a/b'",
       [](Whole& w) { w.fast.name = "a/b"; }},
      {where + "expected device_kind to be a name", [](Whole& w) { w.fast.device_kind = nullptr; }},
      {where + "expected isa like \"avx2,fma\", or \"\" for the baseline, found NULL",
       [](Whole& w) { w.fast.isa = nullptr; }},
      {where + "expected isa like \"avx2,fma\", or \"\" for the baseline, found 'avx2, fma'",
       [](Whole& w) { w.fast.isa = "avx2, fma"; }},
      {where + "expected op_version >= 1 and a step class, found 1 and 0",
       [](Whole& w) { w.fast.step_classes = 0; }},
      {where + "weight_dtypes: expected known element types, found the mask 1",
       [](Whole& w) { w.fast.weight_dtypes = 1; }},
      {where + "create is NULL", [](Whole& w) { w.fast.create = nullptr; }},
      {where + "execute is NULL", [](Whole& w) { w.fast.execute = nullptr; }},
      {where + "destroy is NULL", [](Whole& w) { w.fast.destroy = nullptr; }},
      {"two implementations are named 'acme.norm@1 cpu reference'",
       [](Whole& w) { w.fast.name = "reference"; }},
  });
}

TEST(Descriptor, PlannersAndDevices) {
  const std::string device = "device toy: ";
  expect_refusals({
      {"expected planner.name to be a name", [](Whole& w) { w.planner.name = "a b"; }},
      {"planner roomy: summary is NULL", [](Whole& w) { w.planner.summary = nullptr; }},
      {"planner roomy: plan is NULL", [](Whole& w) { w.planner.plan = nullptr; }},
      {"planner roomy: capacity is NULL", [](Whole& w) { w.planner.capacity = nullptr; }},
      {"planner roomy: options is NULL", [](Whole& w) { w.planner.option_count = 1; }},
      {"expected device.kind to be a name", [](Whole& w) { w.device.kind = nullptr; }},
      {device + "summary is NULL", [](Whole& w) { w.device.summary = nullptr; }},
      {device + "expected reserved to be 0, found 4", [](Whole& w) { w.device.reserved2 = 4; }},
      {device + "count, describe, open, close, allocate, release, stream_create, stream_destroy, "
                "synchronize, upload, download or copy is NULL",
       [](Whole& w) { w.device.copy = nullptr; }},
      {device + "expected all or none of reserve, unreserve, commit, decommit",
       [](Whole& w) {
         w.device.reserve = [](void*, std::uint64_t, void**) { return rt_status{RT_OK}; };
       }},
      {device + "expected all or none of capture_begin, capture_end, replay, graph_destroy",
       [](Whole& w) { w.device.capture_begin = [](void*, void*) { return rt_status{RT_OK}; }; }},
  });
}

TEST(Descriptor, SaysWhatTheManifestSays) {
  expect_refusals({
      {"the manifest says plugin 'acme', the plugin says 'acne'",
       [](Whole& w) { w.plugin.name = "acne"; }},
      {"the manifest says version '1.0', the plugin says '2.0'",
       [](Whole& w) { w.plugin.version = "2.0"; }},
      {"the manifest says abi '0.1', the plugin says '0.9'",
       [](Whole& w) { w.plugin.abi_minor = 9; }},
      {"the manifest says min_host '0.1', the plugin says '0.0'",
       [](Whole& w) { w.plugin.min_host_minor = 0; }},
      {"the manifest says schema 'acme.other@1', the plugin holds no such",
       [](Whole& w) {
         w.manifest.schemas.push_back({"acme.other", 1});
       }},
      {"the plugin holds implementation 'acme.norm@1 cpu fast avx2,fma', its manifest does not",
       [](Whole& w) { w.manifest.implementations.pop_back(); }},
      {"the manifest says implementation 'acme.norm@1 cpu fast avx2', the plugin holds no such",
       [](Whole& w) { w.manifest.implementations[1].isa = "avx2"; }},
      {"the manifest says planner 'a', the plugin holds no such",
       [](Whole& w) { w.manifest.planners.push_back("a"); }},
      {"the plugin holds device 'toy', its manifest does not",
       [](Whole& w) { w.manifest.devices.clear(); }},
  });
}

}  // namespace
}  // namespace rt
