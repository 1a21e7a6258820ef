/* A good operator plugin in plain C, as a stranger would write it: acme.scale@1 multiplies every
 * element by a number. Its own namespace, its schema and its reference. */
#include <string.h>

#include "core/sdk/plugin.h"

static const rt_attr* find(const rt_node* node, const char* name) {
  for (uint32_t i = 0; i < node->attr_count; ++i) {
    if (strcmp(node->attrs[i]->name, name) == 0) return node->attrs[i];
  }
  return NULL;
}

static rt_status infer(const rt_host* host, const rt_node* node, rt_tensor* const* outputs) {
  const rt_tensor* x = node->inputs[0];
  if (x->rank != 2) return host->fail(host, RT_INVALID, "expected x of rank 2");
  outputs[0]->dtype = x->dtype;
  outputs[0]->rank = x->rank;
  memcpy(outputs[0]->shape, x->shape, sizeof x->shape);
  return RT_OK;
}

static float factors[64]; /* one per node; `self` is the address of one */
static uint32_t factor_count;

static rt_status create(const rt_host* host, const rt_node* node, void** self) {
  if (factor_count == 64) return host->fail(host, RT_NO_MEMORY, "expected at most 64 nodes");
  factors[factor_count] = (float)find(node, "by")->f;
  *self = &factors[factor_count++];
  return RT_OK;
}

static rt_status execute(void* self, const rt_call* call) {
  const float factor = *(const float*)self;
  const rt_tensor* in = call->inputs[0];
  const float* x = in->data;
  float* y = call->outputs[0]->data;
  for (int64_t i = 0; i < in->shape[0] * in->shape[1]; ++i) y[i] = factor * x[i];
  return RT_OK;
}

static void destroy(void* self) {
  (void)self;
}

static rt_status supports(const rt_host* host, const rt_node* node) {
  if (node->inputs[0]->shape[1] % 8 == 0) return RT_OK;
  return host->fail(host, RT_UNSUPPORTED, "expected a width divisible by 8");
}

static const rt_port x_port = {sizeof(rt_port), RT_PORT_VALUE, "x", RT_DTYPE_BIT(RT_F32), 2,
                               "[T, D]"};
static const rt_port y_port = {sizeof(rt_port), RT_PORT_VALUE, "y", RT_DTYPE_BIT(RT_F32), 2,
                               "[T, D]"};
static const rt_port* const inputs[] = {&x_port};
static const rt_port* const outputs[] = {&y_port};
static const rt_attr_spec by = {
    sizeof(rt_attr_spec), RT_ATTR_FLOAT, "by", 1, 0, 0, 0, NULL, -1e6, 1e6, NULL, "the factor"};
static const rt_attr_spec* const attrs[] = {&by};

static const rt_schema schema = {.struct_size = sizeof(rt_schema),
                                 .version = 1,
                                 .op = "acme.scale",
                                 .summary = "y = by * x",
                                 .input_count = 1,
                                 .output_count = 1,
                                 .attr_count = 1,
                                 .inputs = inputs,
                                 .outputs = outputs,
                                 .attrs = attrs,
                                 .infer = infer,
                                 .tolerance_relative = 1e-6};

#define IMPLEMENTATION(label, isa_list, level, check)                                             \
  {                                                                                               \
    .struct_size = sizeof(rt_implementation), .op_version = 1, .op = "acme.scale", .name = label, \
    .device_kind = "cpu", .isa = isa_list, .step_classes = RT_STEP_DECODE | RT_STEP_PREFILL,      \
    .traits = RT_TRAIT_EXACT | RT_TRAIT_CAPTURE_SAFE, .tier = level, .supports = check,           \
    .create = create, .execute = execute, .destroy = destroy                                      \
  }

static const rt_implementation reference = IMPLEMENTATION("reference", "", 0, NULL);
static const rt_implementation wide = IMPLEMENTATION("wide", "", 1000, supports);
static const rt_implementation future = IMPLEMENTATION("future", "avx9000", 300, NULL);

static const rt_schema* const schemas[] = {&schema};
static const rt_implementation* const implementations[] = {&reference, &wide, &future};

RT_MANIFEST(
    "plugin: acme_scale\n"
    "version: 1.3.0\n"
    "abi: 0.1\n"
    "min_host: 0.1\n"
    "schema: acme.scale@1\n"
    "implementation: acme.scale@1 cpu reference -\n"
    "implementation: acme.scale@1 cpu wide -\n"
    "implementation: acme.scale@1 cpu future avx9000\n");

static const rt_plugin plugin = {.struct_size = sizeof(rt_plugin),
                                 .abi_major = RT_ABI_MAJOR,
                                 .abi_minor = RT_ABI_MINOR,
                                 .min_host_minor = 1,
                                 .name = "acme_scale",
                                 .version = "1.3.0",
                                 .schema_count = 1,
                                 .implementation_count = 3,
                                 .schemas = schemas,
                                 .implementations = implementations};

#ifdef ACME_EXTRA_EXPORTS
/* Names that the host and the C library have too; harmless, because nothing is shared. */
RT_EXPORT int main(void) {
  return 42;
}
RT_EXPORT const char* acme_helper(void) {
  return "hello";
}
#endif

const rt_plugin* rt_plugin_entry_v1(const rt_host* host, const char* library_path) {
  host->log(host, RT_LOG_DEBUG, library_path);
  return &plugin;
}
