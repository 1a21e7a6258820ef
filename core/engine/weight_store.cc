#include "core/engine/weight_store.h"

#include <algorithm>
#include <cstring>

#include "core/engine/random_weights.h"
#include "core/graph/node_view.h"
#include "core/plugin/host.h"

namespace rt {
namespace {

// Elements per piece of parallel random filling.
constexpr std::uint64_t kRandomGrain = 1 << 20;

struct RandomJob {
  rt_dtype dtype;
  bool is_vector;
  std::uint64_t seed;
  std::uint64_t tensor;
  void* data;
};

void fill_range(void* arg, std::uint64_t begin, std::uint64_t end, std::uint32_t) {
  const RandomJob& job = *static_cast<const RandomJob*>(arg);
  fill_random(job.dtype, job.is_vector, job.seed, job.tensor, begin, end, job.data);
}

}  // namespace

Result<std::unique_ptr<WeightStore>> WeightStore::load(OpenDevice& device,
                                                       const Blueprint& blueprint,
                                                       const Progress& progress) {
  std::unique_ptr<WeightStore> store(new WeightStore(device, blueprint));
  RT_TRY(store->owned_,
         Buffer::make(device, MemoryKind::kWeightsOwned, blueprint.owned_weight_bytes));
  RT_RETURN_IF_ERROR(
      device.ledger().charge(MemoryKind::kWeightsMapped, blueprint.mapped_weight_bytes));
  if (blueprint.checkpoint) RT_RETURN_IF_ERROR(store->read_files(progress));
  const Graph& graph = blueprint.graph;
  for (const GraphWeight& weight : graph.weights) {
    store->tensors_.push_back(to_tensor(weight.type));
  }
  for (std::uint32_t w = 0; w < graph.weights.size(); ++w) {
    if (graph.weights[w].alias_of == kNone) RT_RETURN_IF_ERROR(store->place(w));
  }
  for (std::uint32_t w = 0; w < graph.weights.size(); ++w) {
    const std::uint32_t alias = graph.weights[w].alias_of;
    if (alias != kNone) store->tensors_[w].data = store->tensors_[alias].data;
  }
  RT_RETURN_IF_ERROR(device.synchronize());
  return store;
}

// Brings the files into memory at the disk's speed, instead of one page fault at a time while the
// first tokens are computed.
Status WeightStore::read_files(const Progress& progress) {
  std::vector<const CheckpointTensor*> tensors;
  const auto all = blueprint_.checkpoint->tensors();
  std::vector<bool> wanted(all.size(), false);
  for (const GraphWeight& weight : blueprint_.graph.weights) {
    wanted[weight.checkpoint_index] = true;
  }
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (wanted[i]) tensors.push_back(&all[i]);
  }
  const int threads = static_cast<int>(std::max<std::uint32_t>(1, device_.desc().threads));
  return blueprint_.checkpoint->read_ahead(tensors, threads, progress);
}

Status WeightStore::place(std::uint32_t w) {
  const GraphWeight& weight = blueprint_.graph.weights[w];
  const WeightPlace& place = blueprint_.weights[w];
  rt_tensor& tensor = tensors_[w];
  if (blueprint_.options.source == WeightSource::kRandom) {
    tensor.data = owned_.data() + place.offset;
    return store_random(w, place);
  }
  const CheckpointTensor& source = blueprint_.checkpoint->tensors()[weight.checkpoint_index];
  const std::uint64_t row_bytes =
      weight.tensor_rows > 0 ? source.bytes / static_cast<std::uint64_t>(weight.tensor_rows) : 0;
  const std::byte* bytes = source.data + static_cast<std::uint64_t>(weight.first_row) * row_bytes;
  if (place.mapped) {
    // Weights are read only; the C struct has one pointer for all tensors.
    tensor.data = const_cast<std::byte*>(bytes);
    return {};
  }
  tensor.data = owned_.data() + place.offset;
  if (place.packer == kNone) return store(place, bytes);
  rt_tensor plain = tensor;
  plain.data = const_cast<std::byte*>(bytes);
  return store_packed(place, plain);
}

Status WeightStore::store(const WeightPlace& place, const void* source) {
  std::byte* target = owned_.data() + place.offset;
  if (device_.desc().host_readable != 0) {
    std::memcpy(target, source, place.bytes);
    return {};
  }
  return device_.upload(target, source, place.bytes);
}

Status WeightStore::store_packed(const WeightPlace& place, const rt_tensor& source) {
  const GraphNode& node = blueprint_.graph.nodes[place.packer];
  const Selection& selection = blueprint_.nodes[place.packer].decode;
  const NodeView view(blueprint_.graph, node,
                      {&blueprint_.desc, &blueprint_.bounds, blueprint_.kv_dtype, RT_STEP_DECODE,
                       blueprint_.options.exact, true});
  const bool direct = device_.desc().host_readable != 0;
  std::vector<std::byte> staging(direct ? 0 : place.bytes);
  void* packed = direct ? static_cast<void*>(owned_.data() + place.offset) : staging.data();
  RT_RETURN_IF_ERROR(call_plugin({selection.chosen.full_name, "pack", node.name}, [&] {
    return selection.chosen.c->pack(selection.chosen.host, view.get(), place.packer_input, &source,
                                    packed);
  }));
  if (direct) return {};
  RT_RETURN_IF_ERROR(store(place, packed));
  return device_.synchronize();
}

Status WeightStore::store_random(std::uint32_t w, const WeightPlace& place) {
  const GraphWeight& weight = blueprint_.graph.weights[w];
  if (place.packer != kNone) {
    return bad_input("--weights random: " + blueprint_.nodes[place.packer].decode.chosen.full_name +
                     " packs its weights, which random weights do not support; prefer another "
                     "implementation");
  }
  const bool direct = device_.desc().host_readable != 0;
  std::vector<std::byte> staging(direct ? 0 : place.bytes);
  RandomJob job{weight.type.dtype, weight.type.rank < 2, blueprint_.options.random_seed, w,
                direct ? owned_.data() + place.offset : staging.data()};
  const std::uint64_t count = element_count(weight.type);
  const rt_exec& exec = device_.exec();
  if (exec.parallel_for != nullptr) {
    exec.parallel_for(exec.device, count, kRandomGrain, fill_range, &job);
  } else {
    fill_range(&job, 0, count, 0);
  }
  if (direct) return {};
  RT_RETURN_IF_ERROR(store(place, staging.data()));
  return device_.synchronize();
}

}  // namespace rt
