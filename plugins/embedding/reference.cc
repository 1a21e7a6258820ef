// Reference of embedding: see schema.cc.
#include "plugins/reference/matrix.h"

extern const rt_implementation rt_reference_embedding;

namespace {
using rt::reference::Matrix;
namespace sdk = rt::sdk;

struct Embedding {
  explicit Embedding(const sdk::Node& node) : scale(node.attrs().real("scale")) {}

  void execute(const sdk::Call& call) const {
    const Matrix table(call.input(0));  // [V, D]
    const Matrix out(call.output(0));   // [T, D]
    for (std::int64_t t = 0; t < out.rows; ++t) {
      const std::int64_t id = call.step().token_ids[t];
      if (id < 0 || id >= table.rows) {
        throw sdk::Refusal("expected token ids in [0, " + std::to_string(table.rows) + "), found " +
                               std::to_string(id),
                           RT_INVALID);
      }
      for (std::int64_t d = 0; d < out.width; ++d) out.set(t, d, scale * table.at(id, d));
    }
  }

  double scale;
};

}  // namespace

const rt_implementation rt_reference_embedding = sdk::implementation<Embedding>(
    {.op = "embedding", .name = "reference", .device_kind = "cpu", .tier = 0});
