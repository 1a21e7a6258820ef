/* The plugin boundary, part 5 of 5: memory planners.
 *
 * A planner decides how the KV cache is laid out and how many tokens of it must stand; the host
 * does the deed. A planner is two pure functions: it allocates nothing, keeps nothing, asks the
 * machine nothing, and is called for plans that are never run. The host turns its answers in
 * tokens into bytes by the address rule of step.h, in one place for the plan and for the run, and
 * checks every answer, so a broken planner can waste memory and cannot corrupt it.
 *
 * Words: a class is a set of layers with one window, laid out together in stripes of S tokens; a
 * sequence holds `tokens` and has room for `capacity` tokens in each class.
 */
#ifndef RUNTIME_SDK_PLANNER_H
#define RUNTIME_SDK_PLANNER_H

#include "core/sdk/step.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One layer's streams. Row bytes hold everything of one token, scales of quantized elements too. */
typedef struct rt_plan_layer {
  uint32_t struct_size;
  uint32_t index;       /* the layer */
  uint32_t window;      /* keys visible to a query, itself included; 0: all */
  uint32_t kv_heads;    /* G */
  uint32_t query_heads; /* H */
  uint32_t head_width;  /* E */
  uint64_t k_row_bytes;
  uint64_t v_row_bytes;
} rt_plan_layer;

typedef struct rt_plan_problem {
  uint32_t struct_size;
  uint32_t layer_count;
  const rt_plan_layer* const* layers;
  rt_dtype kv_dtype;
  uint32_t forms;              /* mask of the forms that the candidate implementations read */
  uint64_t context_tokens;     /* N: no sequence grows beyond it */
  uint64_t prompt_tokens;      /* declared; 0 if not */
  uint64_t new_tokens;         /* declared; 0 if not */
  uint32_t budget_is_hard;     /* 1: the user stated new_tokens, all of it must fit */
  uint32_t step_tokens;        /* U */
  uint32_t max_sequences;      /* B */
  uint32_t can_reserve;        /* 1: RT_GROW_COMMIT is possible on this device */
  uint64_t granule_bytes;      /* of commits */
  uint64_t alignment_bytes;    /* of every section of a stripe */
  uint64_t memory_limit_bytes; /* left for the KV cache; UINT64_MAX if unlimited */
  uint32_t option_count;
  uint32_t reserved;
  const rt_attr* const* options; /* complete: defaults are filled in */
} rt_plan_problem;

/* What happens when a sequence's capacity in a class rises. */
typedef uint32_t rt_growth;
enum {
  RT_GROW_NEVER = 0,  /* the first capacity is the last (plain allocation) */
  RT_GROW_COMMIT = 1, /* address space for reserve_tokens now, memory as needed: no copy */
  RT_GROW_MOVE = 2    /* a new allocation; the rows are copied, the address changes */
};

typedef struct rt_plan_class {
  uint32_t struct_size;
  rt_kv_form form;
  rt_growth growth;
  uint32_t layer_count;
  const uint32_t* layers;    /* u32[layer_count]: positions in problem.layers, of one window */
  uint64_t stripe_tokens;    /* S. 0: one stripe of the whole capacity, plain contiguous tensors;
                                the host lays the sections one after another. The layout then
                                depends on the capacity and is every sequence's: all get the
                                largest and move together, the old beside the new until the end */
  uint64_t stripe_bytes;     /* S > 0: distance of two stripes, a multiple of the alignment */
  const uint64_t* k_offsets; /* S > 0: u64[layer_count], bytes from the start of a stripe, */
  const uint64_t* v_offsets; /* multiples of the alignment; else NULL */
  uint64_t reserve_tokens;   /* RT_GROW_COMMIT: address space per sequence; else 0 */
} rt_plan_class;

/* Where a planner puts its answer; everything is copied during the call. */
typedef struct rt_plan_sink rt_plan_sink;
struct rt_plan_sink {
  uint32_t struct_size;
  uint32_t reserved;
  rt_status (*add_class)(rt_plan_sink* sink, const rt_plan_class* plan_class);
  /* Bytes that this way of working needs beside the cache ("mask", ...): printed by name and
   * counted, never allocated. */
  rt_status (*add_charge)(rt_plan_sink* sink, const char* name, uint64_t bytes);
  /* One sentence on what was chosen and why, for people. */
  void (*explain)(rt_plan_sink* sink, const char* sentence);
};

typedef struct rt_plan_sequence {
  uint32_t struct_size;
  uint32_t reserved;
  uint64_t tokens;          /* must have room after this call; > 0 */
  uint64_t capacity_tokens; /* has room now; 0 at first */
  uint64_t budget_tokens;   /* declared prompt + new of this sequence, <= N; 0 if none */
  uint64_t shared_tokens;   /* of `tokens`, in stripes held in common with an earlier sequence of
                               the list; counted once there. Table form only */
} rt_plan_sequence;

/* What another planner of this process costs for the same problem, found by the host. */
typedef struct rt_plan_candidate {
  uint32_t struct_size;
  uint32_t fits; /* 1: peak_bytes are within problem.memory_limit_bytes */
  const char* name;
  uint64_t reserved_bytes; /* address space */
  uint64_t standing_bytes; /* half way through the conversation */
  uint64_t peak_bytes;     /* of the whole conversation: the declared tokens, or the context */
  uint64_t copied_bytes;
  uint64_t address_changes;
  uint64_t largest_tokens; /* that fit in the limit */
} rt_plan_candidate;

typedef struct rt_planner {
  uint32_t struct_size;
  uint32_t option_count;
  const char* name;
  const char* summary;
  const rt_attr_spec* const* options;
  /* The layout. */
  rt_status (*plan)(const rt_host* host, const rt_plan_problem* problem, rt_plan_sink* sink);
  /* How many tokens each sequence must have room for in class `class_index` (the order of
   * add_class): capacities[i] >= sequences[i]->tokens, at most N, and not falling while tokens
   * rise. A ring class is asked in tokens of the sequence too; the host caps it at the ring. Only
   * sequences with tokens > 0 are asked about: one that waits for its first token has room for
   * none, and what stood for one that was emptied is given back before it begins again. */
  rt_status (*capacity)(const rt_host* host, const rt_plan_problem* problem, uint32_t class_index,
                        uint32_t sequence_count, const rt_plan_sequence* const* sequences,
                        uint64_t* capacities);
  /* NULL, or this planner has no layout of its own: it picks one of `count` >= 1 candidates (every
   * other planner that answered for this problem with its default options, by name) and explains
   * itself through sink->explain; plan and capacity must be there and refuse. */
  rt_status (*choose)(const rt_host* host, const rt_plan_problem* problem, uint32_t count,
                      const rt_plan_candidate* const* candidates, rt_plan_sink* sink,
                      uint32_t* chosen);
} rt_planner;

#ifdef __cplusplus
}
#endif

#endif /* RUNTIME_SDK_PLANNER_H */
