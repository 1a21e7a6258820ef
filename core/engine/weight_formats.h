// Which type each weight has in memory, where a deployment wants another than the checkpoint's.
#pragma once

#include <string>
#include <vector>

#include "core/base/result.h"
#include "core/graph/graph.h"

namespace rt {

// The weights that nodes of a name or operator read ("lm_head", "layer.*.mlp") get a type.
struct WeightFormatRule {
  std::string target;  // as Pin::target
  rt_dtype dtype = 0;
};

struct WeightFormats {
  // 0: as stored. A dense type: every weight. A quantized one: every matrix all of whose readers
  // take it and none of which makes the logits or reads nothing but the weight (an embedding).
  // Those stay as they are, as bitsandbytes leaves lm_head: a tenth of the bytes and most of the
  // loss.
  rt_dtype all = 0;
  std::vector<WeightFormatRule> rules;  // the first that matches a reader counts, before `all`
};

// Sets type.dtype of the weights; stored_dtype keeps what they were. nf4-dq becomes nf4 where rows
// are no whole blocks of 64. Refuses a rule that matches no weight, a type that a reader does not
// take, and conversions that can_write() (weight_writer.h) does not know.
Status set_weight_formats(Graph& graph, const WeightFormats& formats);

// "154 of 156 matrices in nf4, 1 in int8", or "" where all are as stored.
std::string weight_formats_text(const Graph& graph);

}  // namespace rt
