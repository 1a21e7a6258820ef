/* What a plugin is: a shared library `*.rtp.so` with one exported function and one manifest.
 *
 * The manifest is text in the ELF section .rt_manifest. The host reads it without running a line
 * of the library, so a plugin for another ABI or another processor is refused with a sentence, and
 * only the libraries that a run needs are opened. Once opened, the descriptor must say the same
 * as the manifest.
 *
 * Manifest grammar, one "key: value" per line:
 *   plugin: acme_norm                  [a-z0-9_]+, unique among loaded plugins
 *   version: 1.3.0
 *   abi: 0.1                           built against; the major must be the host's
 *   min_host: 0.1                      smallest host ABI that will do
 *   schema: acme.norm@1                one line per schema
 *   implementation: acme.norm@1 cpu avx2 avx2,fma    operator@version, device, name, ISA or -
 *   fusion: acme.norm_add@1 rms_norm@1 add@1   a fused operator and the operators of its pattern,
 *                                      each once, as they first stand there
 *   planner: roomy                     one line per planner
 *   device: toy                        one line per device kind
 *
 * Libraries are opened once, with every symbol resolved, and never closed. The entry function is
 * called once and must not throw.
 */
#ifndef RUNTIME_SDK_PLUGIN_H
#define RUNTIME_SDK_PLUGIN_H

#include "core/sdk/operator.h"
#include "core/sdk/planner.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rt_plugin {
  uint32_t struct_size;
  uint32_t abi_major; /* RT_ABI_MAJOR, RT_ABI_MINOR it was built with */
  uint32_t abi_minor;
  uint32_t min_host_minor;
  const char* name;
  const char* version;
  uint32_t schema_count;
  uint32_t implementation_count;
  uint32_t planner_count;
  uint32_t device_count;
  const rt_schema* const* schemas;
  const rt_implementation* const* implementations;
  const rt_planner* const* planners;
  const rt_device* const* devices;
  uint32_t fusion_count;
  uint32_t reserved;
  const rt_fusion* const* fusions;
} rt_plugin;

/* library_path is the file the plugin was loaded from, absolute. Returns NULL after host->fail. */
typedef const rt_plugin* (*rt_plugin_entry_fn)(const rt_host* host, const char* library_path);

#define RT_PLUGIN_ENTRY_NAME "rt_plugin_entry_v1"
#define RT_MANIFEST_SECTION ".rt_manifest"

/* The only exported symbol of a plugin. */
RT_EXPORT const rt_plugin* rt_plugin_entry_v1(const rt_host* host, const char* library_path);

/* RT_MANIFEST("plugin: acme_norm\n" ...): place once, at file scope. */
#define RT_MANIFEST(text)                            \
  __attribute__((used, section(RT_MANIFEST_SECTION), \
                 aligned(1))) static const char rt_manifest_text[] = text

#ifdef __cplusplus
}
#endif

#endif /* RUNTIME_SDK_PLUGIN_H */
