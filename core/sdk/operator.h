/* The plugin boundary, part 4 of 5: operator schemas and their implementations.
 *
 * A schema says what an operator means: its inputs, attributes, shape rule and tolerance, with a
 * reference implementation in double precision. An implementation computes a schema on one kind of
 * device. Life of an implementation at one node:
 *
 *   supports -> require -> pack* -> create -> { prepare -> execute }* -> destroy
 *
 * supports, require [any thread, pure]: told about the device by a description, never asking the
 *   machine, so that plans can be made for other machines. Called many times.
 * pack, create, destroy [preparing thread]: may allocate host memory for `self`.
 * prepare [step thread, outside capture]: host work for one step; fills the node's metadata. Only
 *   `meta` carries its results to execute: on an asynchronous device the next step's prepare may
 *   run before this step's execute has, and a replayed execute does not call into the plugin.
 * execute [step thread, maybe while recording]: never allocates, locks, waits or reads device
 *   data; uses only the stream (or pool) it is given. It may be recorded once and replayed.
 *
 * One node binds one implementation per step class, which may be two: decode and prefill.
 */
#ifndef RUNTIME_SDK_OPERATOR_H
#define RUNTIME_SDK_OPERATOR_H

#include "core/sdk/device.h"
#include "core/sdk/step.h"

#ifdef __cplusplus
extern "C" {
#endif

#define RT_MAX_PORTS 16

typedef uint32_t rt_port_kind;
enum { RT_PORT_VALUE = 1, RT_PORT_WEIGHT = 2 };

typedef struct rt_port {
  uint32_t struct_size;
  rt_port_kind kind;
  const char* name;
  uint32_t dtypes; /* mask */
  uint32_t rank;
  const char* shape; /* for people: "[T, D]" */
} rt_port;

/* Declared limits of a step; every requirement is for these. */
typedef struct rt_bounds {
  uint32_t struct_size;
  uint32_t tokens;         /* U: largest T */
  uint32_t sequences;      /* largest B */
  uint32_t rows;           /* largest R */
  uint64_t context_tokens; /* N: longest sequence */
} rt_bounds;

typedef uint32_t rt_step_class;
enum { RT_STEP_DECODE = 1, RT_STEP_PREFILL = 2 };

/* One node of an expanded graph, at bind time. */
typedef struct rt_node {
  uint32_t struct_size;
  uint32_t op_version;
  const char* name; /* "layer.3.attention" */
  const char* op;
  uint32_t input_count;
  uint32_t output_count;
  uint32_t attr_count;
  rt_dtype value_dtype;            /* element type of values on this device */
  const rt_tensor* const* inputs;  /* data is NULL */
  const rt_tensor* const* outputs; /* data is NULL; not set while infer runs */
  const rt_attr* const* attrs;     /* complete: defaults are filled in */
  const rt_device_desc* device;
  const rt_bounds* bounds;
  rt_dtype kv_dtype;        /* of the KV cache; 0 for a node without state */
  rt_step_class step_class; /* which of the two is being bound; 0 in infer */
  uint32_t exact;           /* 1: products must not round their inputs */
  uint32_t reserved;
} rt_node;

typedef struct rt_schema {
  uint32_t struct_size;
  uint32_t version;
  const char* op;      /* ours: a bare name; a third party's: "acme.name" */
  const char* summary; /* what it computes, as a formula */
  uint32_t input_count;
  uint32_t output_count;
  uint32_t attr_count;
  uint32_t has_kv_state; /* 1: reads and appends to the KV cache of its layer */
  const rt_port* const* inputs;
  const rt_port* const* outputs;
  const rt_attr_spec* const* attrs;
  /* Checks the inputs against each other and sets dtype, rank and shape of every output. */
  rt_status (*infer)(const rt_host* host, const rt_node* node, rt_tensor* const* outputs);
  /* Largest |implementation - reference| allowed: absolute + relative * |reference|, for f32
   * values and inputs of unit scale. */
  double tolerance_absolute;
  double tolerance_relative;
} rt_schema;

/* A fused operator: a name for a small piece of graph, its pattern, that an implementation computes
 * at once. The host finds the pattern in graphs and, in each step class for which an implementation
 * serves what it found, runs that in place of the pattern's nodes, the parts; otherwise the parts
 * run. Ports, attributes, shapes, KV state and reference are those of the parts, so a fused
 * operator has nothing of its own that could be wrong.
 *
 * The pattern is the body of a block in the language of graphs (docs/GRAPHS.md):
 *
 *   in: [x, w, y]
 *   out: z
 *   nodes:
 *     - {op: linear, in: [x, w], out: o}
 *     - {op: add, in: [y, o], out: z}
 *
 * Inputs and outputs of the fused node stand in the order of `in` and `out`. What is made inside
 * and is not under `out` may have no reader outside. `attrs` of a part say what its attributes must
 * be; all attributes of all parts are shown to implementations, named by the part's first output:
 * "o.eps". An implementation reads weights in place, as the parts do; its execute may count on all
 * inputs standing beside all outputs, and must write outputs alone. */
typedef struct rt_fusion {
  uint32_t struct_size;
  uint32_t version;
  const char* op; /* ours: a bare name; a third party's: "acme.name" */
  const char* summary;
  const char* pattern;
} rt_fusion;

/* What one implementation needs at one node. The host zero-fills it and sets struct_size. */
typedef struct rt_requirements {
  uint32_t struct_size;
  uint32_t kv_forms;        /* mask of the KV forms it reads; nodes with KV state only */
  uint64_t workspace_bytes; /* content undefined between calls; shared by all nodes */
  uint64_t meta_bytes;      /* written by prepare on the host, read by execute on the device */
  /* For each input that is a weight: 0 to read it in place, else the size of this
   * implementation's own form, which pack() writes once. */
  uint64_t packed_bytes[RT_MAX_PORTS];
  const char* packed_layout; /* names that form; equal names are interchangeable; NULL if none */
} rt_requirements;

/* Traits of an implementation. */
enum {
  RT_TRAIT_EXACT = 1,           /* never rounds the inputs of a product below f32 */
  RT_TRAIT_CAPTURE_SAFE = 2,    /* execute may be recorded and replayed */
  RT_TRAIT_BAKES_ADDRESSES = 4, /* must be recorded again after an address change */
  /* The bits of a sequence may depend on what is beside it in the step: a library's choice of
   * kernels does. Exact mode does without it; the conformance test compares bits without it. */
  RT_TRAIT_BITS_OF_BATCH = 8
};

typedef struct rt_call {
  uint32_t struct_size;
  uint32_t input_count;
  uint32_t output_count;
  uint32_t reserved;
  const rt_host* host;
  const rt_exec* exec;
  const rt_step* step;            /* counts; the arrays are on the device */
  const rt_tensor* const* inputs; /* shapes of this step, addresses on the device */
  const rt_tensor* const* outputs;
  void* workspace;        /* requirements.workspace_bytes, on the device */
  const void* meta;       /* requirements.meta_bytes, on the device */
  const rt_kv_layout* kv; /* nodes with KV state, else NULL */
} rt_call;

typedef struct rt_implementation {
  uint32_t struct_size;
  uint32_t op_version;
  const char* op;
  /* Unique in the plugin for one operator and device: "avx2"; in full "<plugin>/<name>". */
  const char* name;
  const char* device_kind; /* "cpu" */
  const char* isa;         /* "avx2,fma": must all stand in device.isa; "" for the baseline */
  uint32_t step_classes;   /* mask */
  uint32_t traits;         /* mask */
  /* 0 reference, 100 portable, 200 optimised, 300 for one architecture; clamped to [0, 300]. */
  int32_t tier;
  /* Mask of the element types of weights that it is made for; all weight inputs must be of them.
   * 0: any, and supports() says. A node of other weights is not a refusal worth a note. */
  uint32_t weight_dtypes;

  /* RT_OK, or RT_UNSUPPORTED with the reason in host->fail. NULL: every node that the schema and
   * the ISA allow. */
  rt_status (*supports)(const rt_host* host, const rt_node* node);
  /* NULL: needs nothing (and reads every KV form, if the schema has KV state). */
  rt_status (*require)(const rt_host* host, const rt_node* node, rt_requirements* requirements);
  /* source is readable by the host; packed has packed_bytes[input], host memory. */
  rt_status (*pack)(const rt_host* host, const rt_node* node, uint32_t input,
                    const rt_tensor* source, void* packed);
  rt_status (*create)(const rt_host* host, const rt_node* node, void** self);
  /* NULL: nothing to do. step's arrays are on the host; meta is host memory. */
  rt_status (*prepare)(const rt_host* host, void* self, const rt_step* step, void* meta);
  rt_status (*execute)(void* self, const rt_call* call);
  void (*destroy)(void* self);
} rt_implementation;

#ifdef __cplusplus
}
#endif

#endif /* RUNTIME_SDK_OPERATOR_H */
