/* A menu of implementations for the tests of selection. One source, three plugins:
 *   MENU_REFERENCE: "reference", with the schema blend@1 (a weight, KV state) and its reference;
 *   "menu" and "stranger": what is listed at the end, each breaking or offering one thing.
 * A node's width, x.shape[1], steers what supports() and require() say. */
#include <string.h>

#include "core/sdk/plugin.h"

#define BOTH (RT_STEP_DECODE | RT_STEP_PREFILL)
enum { kRefusedWidth = 13, kBrokenWidth = 99, kSilentWidth = 77 };

static int64_t width(const rt_node* node) {
  return node->inputs[0]->shape[1];
}

static rt_status not_13(const rt_host* host, const rt_node* node) {
  if (width(node) != kRefusedWidth) return RT_OK;
  return host->fail(host, RT_UNSUPPORTED, "expected a width other than 13");
}

static rt_status only_99(const rt_host* host, const rt_node* node) {
  if (width(node) == kBrokenWidth) return RT_OK;
  return host->fail(host, RT_UNSUPPORTED, "expected a width of 99");
}

static rt_status silent_at_77(const rt_host* host, const rt_node* node) {
  (void)host;
  return width(node) == kSilentWidth ? RT_UNSUPPORTED : RT_OK;
}

static rt_status affine_tiles8(const rt_host* host, const rt_node* node, rt_requirements* need) {
  (void)host;
  need->kv_forms = RT_KV_FORM_BIT(RT_KV_AFFINE);
  need->packed_bytes[1] = 4u * (uint64_t)width(node);
  need->packed_layout = "tiles8";
  return RT_OK;
}

static rt_status all_tiles16(const rt_host* host, const rt_node* node, rt_requirements* need) {
  (void)host;
  need->kv_forms = RT_KV_ALL_FORMS;
  need->packed_bytes[1] = 8u * (uint64_t)width(node);
  need->packed_layout = "tiles16";
  return RT_OK;
}

static rt_status packs_a_value(const rt_host* host, const rt_node* node, rt_requirements* need) {
  (void)host;
  (void)node;
  need->kv_forms = RT_KV_ALL_FORMS;
  need->packed_bytes[0] = 64;
  need->packed_layout = "oops";
  return RT_OK;
}

static rt_status no_forms(const rt_host* host, const rt_node* node, rt_requirements* need) {
  (void)host;
  (void)node;
  need->workspace_bytes = 64;
  return RT_OK;
}

static rt_status no_layout_name(const rt_host* host, const rt_node* node, rt_requirements* need) {
  (void)host;
  (void)node;
  need->kv_forms = RT_KV_ALL_FORMS;
  need->packed_bytes[1] = 64;
  return RT_OK;
}

static rt_status greedy(const rt_host* host, const rt_node* node, rt_requirements* need) {
  (void)host;
  (void)node;
  need->kv_forms = RT_KV_ALL_FORMS;
  need->workspace_bytes = UINT64_MAX;
  return RT_OK;
}

static rt_status require_refuses(const rt_host* host, const rt_node* node, rt_requirements* need) {
  (void)node;
  (void)need;
  return host->fail(host, RT_INVALID, "expected at most 8 sequences");
}

static rt_status pack(const rt_host* host, const rt_node* node, uint32_t input,
                      const rt_tensor* source, void* packed) {
  (void)host;
  (void)node;
  (void)input;
  (void)source;
  (void)packed;
  return RT_OK;
}

static rt_status create(const rt_host* host, const rt_node* node, void** self) {
  (void)host;
  (void)node;
  *self = NULL;
  return RT_OK;
}
static rt_status execute(void* self, const rt_call* call) {
  (void)self;
  (void)call;
  return RT_OK;
}
static void destroy(void* self) {
  (void)self;
}

#define ITEM(id, version_, device_, isa_, classes_, traits_, tier_, supports_, require_, pack_) \
  static const rt_implementation id = {.struct_size = sizeof(rt_implementation),                \
                                       .op_version = version_,                                  \
                                       .op = "blend",                                           \
                                       .name = #id,                                             \
                                       .device_kind = device_,                                  \
                                       .isa = isa_,                                             \
                                       .step_classes = classes_,                                \
                                       .traits = traits_,                                       \
                                       .tier = tier_,                                           \
                                       .supports = supports_,                                   \
                                       .require = require_,                                     \
                                       .pack = pack_,                                           \
                                       .create = create,                                        \
                                       .execute = execute,                                      \
                                       .destroy = destroy};
#define LINE(id, version_, device_, isa_) \
  "implementation: blend@" version_ " " device_ " " id " " isa_ "\n"

#ifdef MENU_REFERENCE
#define MENU_NAME "reference"
static rt_status infer(const rt_host* host, const rt_node* node, rt_tensor* const* outputs) {
  (void)host;
  *outputs[0] = *node->inputs[0];
  return RT_OK;
}
static const rt_port x = {sizeof(rt_port), RT_PORT_VALUE, "x", RT_DTYPE_BIT(RT_F32), 2, "[T, D]"};
static const rt_port w = {sizeof(rt_port), RT_PORT_WEIGHT, "w", RT_DTYPE_BIT(RT_F32), 1, "[D]"};
static const rt_port* const in[] = {&x, &w};
static const rt_port* const out[] = {&x};
static const rt_schema blend = {.struct_size = sizeof(rt_schema),
                                .version = 1,
                                .op = "blend",
                                .summary = "y = blend(x, w)",
                                .input_count = 2,
                                .output_count = 1,
                                .has_kv_state = 1,
                                .inputs = in,
                                .outputs = out,
                                .infer = infer};
static const rt_schema* const schemas[] = {&blend};
ITEM(reference, 1, "cpu", "", BOTH, RT_TRAIT_EXACT, 0, NULL, NULL, NULL)
static const rt_implementation* const items[] = {&reference};
#define MENU_MANIFEST "schema: blend@1\n" LINE("reference", "1", "cpu", "-")
#else
ITEM(plain, 1, "cpu", "", BOTH, RT_TRAIT_EXACT, 100, silent_at_77, NULL, NULL)
ITEM(fast, 1, "cpu", "avx2,fma", BOTH, 0, 250, not_13, affine_tiles8, pack)
ITEM(decoder, 1, "cpu", "isa.d", RT_STEP_DECODE, RT_TRAIT_EXACT, 300, NULL, affine_tiles8, pack)
ITEM(prefiller, 1, "cpu", "isa.p", RT_STEP_PREFILL, RT_TRAIT_EXACT, 300, NULL, all_tiles16, pack)
ITEM(newer, 2, "cpu", "", BOTH, RT_TRAIT_EXACT, 300, NULL, NULL, NULL)
ITEM(cuda, 1, "cuda", "", BOTH, RT_TRAIT_EXACT, 300, NULL, NULL, NULL)
ITEM(broken_value, 1, "cpu", "", BOTH, RT_TRAIT_EXACT, 300, only_99, packs_a_value, pack)
ITEM(broken_forms, 1, "cpu", "", BOTH, RT_TRAIT_EXACT, 300, only_99, no_forms, NULL)
ITEM(broken_layout, 1, "cpu", "", BOTH, RT_TRAIT_EXACT, 300, only_99, no_layout_name, pack)
ITEM(broken_pack, 1, "cpu", "", BOTH, RT_TRAIT_EXACT, 300, only_99, affine_tiles8, NULL)
ITEM(broken_size, 1, "cpu", "", BOTH, RT_TRAIT_EXACT, 300, only_99, greedy, NULL)
ITEM(unwilling, 1, "cpu", "", BOTH, RT_TRAIT_EXACT, 300, only_99, require_refuses, NULL)
static const rt_implementation* const items[] = {
    &plain,        &fast,         &decoder,       &prefiller,   &newer,       &cuda,
    &broken_value, &broken_forms, &broken_layout, &broken_pack, &broken_size, &unwilling};
#define MENU_MANIFEST                    \
  LINE("plain", "1", "cpu", "-")         \
  LINE("fast", "1", "cpu", "avx2,fma")   \
  LINE("decoder", "1", "cpu", "isa.d")   \
  LINE("prefiller", "1", "cpu", "isa.p") \
  LINE("newer", "2", "cpu", "-")         \
  LINE("cuda", "1", "cuda", "-")         \
  LINE("broken_value", "1", "cpu", "-")  \
  LINE("broken_forms", "1", "cpu", "-")  \
  LINE("broken_layout", "1", "cpu", "-") \
  LINE("broken_pack", "1", "cpu", "-")   \
  LINE("broken_size", "1", "cpu", "-")   \
  LINE("unwilling", "1", "cpu", "-")
#endif

RT_MANIFEST("plugin: " MENU_NAME
            "\n"
            "version: 1.0\n"
            "abi: 0.1\n"
            "min_host: 0.1\n" MENU_MANIFEST);

static const rt_plugin plugin = {.struct_size = sizeof(rt_plugin),
                                 .abi_major = RT_ABI_MAJOR,
                                 .abi_minor = RT_ABI_MINOR,
                                 .min_host_minor = 1,
                                 .name = MENU_NAME,
                                 .version = "1.0",
#ifdef MENU_REFERENCE
                                 .schema_count = 1,
                                 .schemas = schemas,
#endif
                                 .implementation_count = sizeof items / sizeof items[0],
                                 .implementations = items};

const rt_plugin* rt_plugin_entry_v1(const rt_host* host, const char* library_path) {
  (void)host;
  (void)library_path;
#ifdef MENU_REFERENCE
  (void)not_13, (void)only_99, (void)silent_at_77, (void)affine_tiles8, (void)all_tiles16;
  (void)packs_a_value, (void)no_forms, (void)no_layout_name, (void)greedy, (void)require_refuses;
  (void)pack;
#endif
  return &plugin;
}
