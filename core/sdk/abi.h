/* The plugin boundary, part 1 of 5: versions, statuses, element types, tensors, attributes, host.
 *
 * Everything that crosses between the runtime and a plugin is declared in core/sdk/{abi, step,
 * device, operator, planner, plugin}.h, in C11 that is also C++20. Read plugin.h first for how a
 * plugin is found and entered; sdk.hpp is a header-only C++ layer over all of it.
 *
 * Rules of growth (the ABI is 0.x: a change updates tests/plugin/abi_record.txt with its reason):
 *  - every struct starts with `uint32_t struct_size`, set by whoever makes the struct; a reader
 *    looks at a field that is younger than ABI 0.1 only through RT_HAS(pointer, field);
 *  - fields are appended, never moved, retyped or given a second meaning; enumerators keep their
 *    numbers; reserved fields are zero;
 *  - arrays of structs are arrays of pointers, so that the structs can grow. The exceptions are
 *    the records that live in device memory (step.h), which are frozen.
 *
 * Ownership: strings and descriptors that a plugin hands out live as long as its library, which is
 * never unloaded. What stands in an argument struct is valid during that call only. Device and
 * host buffers belong to the host; a plugin owns its `self` objects and nothing else.
 *
 * No exception, C++ type or allocation crosses. A function that can refuse returns an rt_status
 * and explains itself through host->fail ("expected X, found Y").
 */
#ifndef RUNTIME_SDK_ABI_H
#define RUNTIME_SDK_ABI_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RT_ABI_MAJOR 0u
#define RT_ABI_MINOR 1u

/* True if the maker of *pointer knew `field`. */
#define RT_HAS(pointer, field) \
  ((pointer)->struct_size >= offsetof(__typeof__(*(pointer)), field) + sizeof((pointer)->field))

#define RT_EXPORT __attribute__((visibility("default")))

typedef int32_t rt_status;
enum {
  RT_OK = 0,
  RT_INVALID = 1,      /* the request contradicts the documentation */
  RT_UNSUPPORTED = 2,  /* a fair request that this plugin does not serve */
  RT_NO_MEMORY = 3,    /* device or host memory is not to be had */
  RT_DEVICE_FAULT = 4, /* sticky: the device can only be closed */
  RT_INTERNAL = 5      /* a mistake of the plugin */
};

/* Element types. A mask of types is the OR of RT_DTYPE_BIT(t). */
typedef uint32_t rt_dtype;
enum {
  RT_F32 = 1,
  RT_BF16 = 2,
  RT_F16 = 3,
  RT_F64 = 4,
  RT_I32 = 5,
  RT_I64 = 6,
  RT_I8 = 7,
  RT_U8 = 8,
  /* Of KV caches only: integer codes with scales, laid out by row (kv_row.hpp), not by element. */
  RT_KV_INT8 = 9,
  RT_KV_Q8_0 = 10,
  RT_KV_Q4_0 = 11,
  /* Of weights [N, K] only: quantized, in planes (weight_format.hpp), not by element. */
  RT_W_INT8 = 12,
  RT_W_NF4 = 13,
  RT_W_NF4_DQ = 14
};
#define RT_DTYPE_BIT(dtype) (1u << (dtype))

/* Sizes that a bind-time shape may hold instead of a number; a step fills them in. */
enum {
  RT_DIM_TOKENS = -1, /* T, new tokens of a step, 1 <= T <= bounds.tokens */
  RT_DIM_ROWS = -2    /* R, rows that want logits, 0 <= R <= bounds.rows */
};

#define RT_MAX_RANK 4

/* A view: dtype and shape, row-major and dense. data is NULL at bind time; afterwards it is an
 * address on the node's device, at least 64-byte aligned (256 on CUDA) for values and packed
 * weights, and aligned to its element for weights that are read in place from a file. */
typedef struct rt_tensor {
  uint32_t struct_size;
  rt_dtype dtype;
  uint32_t rank;
  uint32_t reserved;
  int64_t shape[RT_MAX_RANK]; /* shape[0] may be RT_DIM_TOKENS or RT_DIM_ROWS at bind time */
  void* data;
} rt_tensor;

/* A named constant of a node or an option of a planner or device. */
typedef uint32_t rt_attr_type;
enum {
  RT_ATTR_INT = 1,
  RT_ATTR_FLOAT = 2,
  RT_ATTR_BOOL = 3,
  RT_ATTR_STRING = 4,
  RT_ATTR_FLOATS = 5
};

typedef struct rt_attr {
  uint32_t struct_size;
  rt_attr_type type;
  const char* name;
  int64_t i;            /* INT, BOOL (0 or 1) */
  double f;             /* FLOAT */
  const char* s;        /* STRING */
  const double* floats; /* FLOATS: f64[count] */
  uint64_t count;
} rt_attr;

/* What an attribute of a node or an option of a planner or device may be; the host checks a graph
 * or config against it before any call. Numbers are finite. Where minimum and maximum are both 0,
 * as in a spec that does not name them, a number has no other bounds. */
typedef struct rt_attr_spec {
  uint32_t struct_size;
  rt_attr_type type;
  const char* name;
  uint32_t required; /* 1: no default */
  uint32_t reserved;
  int64_t default_i;     /* INT, BOOL */
  double default_f;      /* FLOAT */
  const char* default_s; /* STRING, NULL = "" */
  double minimum;        /* INT, FLOAT: inclusive, as the maximum */
  double maximum;
  const char* choices; /* STRING: "silu|gelu_tanh", or NULL for any */
  const char* doc;
} rt_attr_spec;

typedef int32_t rt_log_level;
enum { RT_LOG_DEBUG = 0, RT_LOG_INFO = 1, RT_LOG_WARN = 2, RT_LOG_ERROR = 3 };

/* What the host offers a plugin. Valid for the life of the process; any thread. Keep the pointer,
 * never a copy: a newer host's struct is longer than the one a plugin was compiled with. */
typedef struct rt_host rt_host;
struct rt_host {
  uint32_t struct_size;
  uint32_t abi_major;
  uint32_t abi_minor;
  uint32_t reserved;
  /* Records why the running call refuses (the text is copied) and returns `code`, so that a plugin
   * writes `return host->fail(host, RT_UNSUPPORTED, "expected head_width <= 256, found 320");`. */
  rt_status (*fail)(const rt_host* host, rt_status code, const char* message);
  void (*log)(const rt_host* host, rt_log_level level, const char* message);
  /* An ability named by a string with a revision ("rt.trace/1"), or NULL. */
  const void* (*extension)(const rt_host* host, const char* id);
};

#ifdef __cplusplus
}
#endif

#endif /* RUNTIME_SDK_ABI_H */
