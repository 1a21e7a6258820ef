/* The plugin boundary, part 2 of 5: one step, and where the KV cache lies.
 *
 * The engine runs in steps: T new tokens of B sequences, ragged (each sequence brings its own
 * number of new tokens and has its own length so far). Letters: T tokens, B sequences, R rows that
 * want logits, C KV classes, S tokens per stripe, U the largest T, W a window in tokens.
 *
 * There is one rt_step per step and two views of it: an operator's prepare() gets arrays the host
 * can read, execute() gets the same arrays in the device's memory at addresses that never change.
 * A recorded step may be replayed with other array contents but with the same T, B and R.
 */
#ifndef RUNTIME_SDK_STEP_H
#define RUNTIME_SDK_STEP_H

#include "core/sdk/abi.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How one row of logits becomes a token. Frozen record, 64 bytes, lives in device memory. */
typedef struct rt_sampling {
  float temperature;       /* <= 0: greedy, everything below but the penalties is ignored */
  float top_p;             /* >= 1: off */
  float min_p;             /* <= 0: off */
  float repeat_penalty;    /* 1: off; divides positive and multiplies negative logits */
  float presence_penalty;  /* 0: off; subtracted once from every token in the history */
  float frequency_penalty; /* 0: off; subtracted once per occurrence in the history */
  int32_t top_k;           /* <= 0: off */
  uint32_t history_offset; /* this row's ids are history[offset, offset + count) */
  uint32_t history_count;
  uint32_t reserved;
  uint64_t seed;     /* the draw depends on (seed, position) and on nothing else */
  uint64_t position; /* of the token being drawn */
  uint64_t reserved2;
} rt_sampling;

typedef struct rt_step {
  uint32_t struct_size;
  uint32_t tokens;     /* T >= 1 */
  uint32_t sequences;  /* B >= 1 */
  uint32_t rows;       /* R >= 0 */
  uint32_t kv_classes; /* C >= 0 */
  uint32_t reserved;
  /* i32[T]; the tokens of one sequence are adjacent. On the device an id may be none of the
   * vocabulary: it was drawn there a step before from logits that are not numbers, and the host,
   * which has not seen it yet, will refuse it. Read nothing outside the table for it. */
  const int32_t* token_ids;
  const int32_t* positions;      /* i32[T]: place of the token in its sequence, from 0 */
  const int32_t* token_sequence; /* i32[T]: which of the B sequences */
  const int32_t* token_offsets; /* i32[B + 1]: sequence b's tokens are [offsets[b], offsets[b+1]) */
  const int32_t* lengths;       /* i32[B]: tokens in the cache once this step has run */
  const int32_t* row_tokens;    /* i32[R]: which of the T tokens each row of logits is for */
  const int32_t* rope_regimes;  /* i32[B]: 0 the short factors, 1 the long ones (LongRoPE) */
  const uint64_t* kv_bases;     /* u64[C, B]: address of stripe 0 (affine and ring forms) */
  const uint64_t* kv_tables;    /* u64[C, B]: address of u64[stripes] (table form), else 0 */
  const rt_sampling* sampling;  /* rt_sampling[R] */
  const int32_t* history;       /* i32[]: the ids that the penalties look at */
} rt_step;

/* The one address rule. Token t of a layer's K (or V) rows begins at
 *
 *   stripe(t div S) + k_offset + (t mod S) * k_row_bytes
 *   stripe(i) = base + i * stripe_bytes              RT_KV_AFFINE
 *             = base + (i mod ring_stripes) * stripe_bytes    RT_KV_RING
 *             = table[i]                              RT_KV_TABLE
 *
 * A row is [G, E]: all kv heads of one token side by side, so kernels walk whole rows. A row of a
 * quantized type holds its codes first and its scales at its end; kv_row.hpp has the formats. */
typedef uint32_t rt_kv_form;
enum { RT_KV_AFFINE = 0, RT_KV_RING = 1, RT_KV_TABLE = 2 };
#define RT_KV_FORM_BIT(form) (1u << (form))
#define RT_KV_ALL_FORMS 7u
/* In a mask of forms: the affine form where one stripe is the whole capacity, plain tensors
 * [capacity, G, E]. Who reads the affine form reads it too. */
#define RT_KV_ONE_STRIPE 8u

typedef struct rt_kv_layout {
  uint32_t struct_size;
  rt_kv_form form;
  rt_dtype dtype;         /* of the elements */
  uint32_t class_index;   /* c in kv_bases[c, b] */
  uint64_t stripe_tokens; /* S */
  uint64_t stripe_bytes;
  uint64_t ring_stripes; /* n, RT_KV_RING only */
  uint64_t k_offset;
  uint64_t v_offset;
  uint64_t k_row_bytes;
  uint64_t v_row_bytes;
} rt_kv_layout;

#ifdef __cplusplus
}
#endif

#endif /* RUNTIME_SDK_STEP_H */
