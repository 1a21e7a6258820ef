#include "core/engine/weight_place.h"

#include <algorithm>

#include "core/base/bytes.h"
#include "core/base/text.h"
#include "core/engine/blueprint.h"
#include "core/sdk/weight_format.hpp"

namespace rt {
namespace {

void place_weight(Blueprint& b, std::uint32_t w) {
  if (storage_of(b.graph, w) != w) return;
  const GraphWeight& weight = b.graph.weights[w];
  WeightPlace& place = b.weights[w];
  const std::uint64_t plain = tensor_bytes(weight.type);
  bool aligned = true;
  if (b.checkpoint) {
    aligned = b.stored[weight.checkpoint_index].data->aligned;
  }
  const bool as_stored = weight.stored_dtype == 0 && !sdk::weight_is_quantized(weight.type.dtype);
  place.mapped = place.packer == kNone && b.desc.host_readable != 0 && aligned && as_stored &&
                 b.options.source != WeightSource::kRandom;
  if (place.packer == kNone) place.bytes = plain;
  if (place.mapped) {
    b.mapped_weight_bytes += place.bytes;
    return;
  }
  place.offset = b.owned_weight_bytes;
  b.owned_weight_bytes +=
      round_up(place.bytes, std::max<std::uint64_t>(64, b.desc.alignment_bytes));
}

}  // namespace

// One layout per weight for all its readers: in place, or one packed form.
Status place_weights(Blueprint& b) {
  b.weights.assign(b.graph.weights.size(), {});
  b.owned_weight_bytes = b.mapped_weight_bytes = 0;
  std::vector<std::uint32_t> first_reader(b.graph.weights.size(), kNone);
  const auto reader = [&](std::uint32_t n) {
    return b.nodes[n].decode.decision().full_name + " at node " + b.graph.nodes[n].name;
  };
  for (std::uint32_t n = 0; n < b.graph.nodes.size(); ++n) {
    for (std::uint32_t i = 0; i < b.graph.nodes[n].inputs.size(); ++i) {
      const Operand input = b.graph.nodes[n].inputs[i];
      if (!input.is_weight) continue;
      const std::uint32_t w = storage_of(b.graph, input.index);
      const Decision& decision = b.nodes[n].decode.decision();
      const std::uint64_t packed = decision.requirements.packed_bytes[i];
      WeightPlace& place = b.weights[w];
      const bool first = first_reader[w] == kNone;
      if (first) first_reader[w] = n;
      if (first && packed > 0) {
        place.packed_layout = decision.packed_layout();
        place.packer = n;
        place.packer_input = i;
        place.bytes = packed;
      }
      const bool mixed =
          packed == 0 ? place.packer != kNone
                      : place.packer == kNone || place.packed_layout != decision.packed_layout();
      if (mixed) {
        return bad_input("weight " + quote(b.graph.weights[w].name) + ": " + reader(n) +
                         " reads another layout than " + reader(first_reader[w]) +
                         "; --prefer implementations that read it alike, of both nodes");
      }
    }
  }
  for (std::uint32_t w = 0; w < b.weights.size(); ++w) place_weight(b, w);
  return {};
}

}  // namespace rt
