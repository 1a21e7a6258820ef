#include "core/engine/weight_store.h"

#include <algorithm>
#include <cstring>
#include <future>
#include <system_error>

#include "core/base/log.h"
#include "core/base/parallel.h"
#include "core/base/text.h"
#include "core/engine/random_weights.h"
#include "core/graph/node_view.h"
#include "core/memory/weight_writer.h"
#include "core/plugin/host.h"

namespace rt {
namespace {

// Elements per piece of parallel random filling.
constexpr std::uint64_t kRandomGrain = 1 << 20;
// Elements per piece of parallel conversion.
constexpr std::uint64_t kConvertGrain = 1 << 16;

}  // namespace

Result<std::unique_ptr<WeightStore>> WeightStore::load(OpenDevice& device,
                                                       const Blueprint& blueprint,
                                                       const Progress& progress) {
  std::unique_ptr<WeightStore> store(new WeightStore(device, blueprint, progress));
  RT_TRY(store->owned_,
         Buffer::make(device, MemoryKind::kWeightsOwned, blueprint.owned_weight_bytes));
  RT_RETURN_IF_ERROR(
      device.ledger().charge(MemoryKind::kWeightsMapped, blueprint.mapped_weight_bytes));
  if (blueprint.checkpoint) RT_RETURN_IF_ERROR(store->read_mapped());
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
  store->staging_.reset();
  return store;
}

// Brings what is read in place into memory at the disk's speed, instead of one page fault at a time
// while the first tokens are computed.
Status WeightStore::read_mapped() {
  std::vector<const CheckpointTensor*> tensors;
  std::vector<bool> seen(blueprint_.stored.size(), false);
  for (std::uint32_t w = 0; w < blueprint_.graph.weights.size(); ++w) {
    const GraphWeight& weight = blueprint_.graph.weights[w];
    if (weight.alias_of != kNone || seen[weight.checkpoint_index]) continue;
    const StoredWeight& source = blueprint_.stored[weight.checkpoint_index];
    seen[weight.checkpoint_index] = true;
    total_bytes_ += source.bytes();
    if (blueprint_.weights[w].mapped) tensors.push_back(source.data);
  }
  return blueprint_.checkpoint->read_ahead(tensors, reading_threads(),
                                           [&](std::uint64_t done, std::uint64_t total) {
                                             if (done == total) read_bytes_ = total;
                                             if (progress_) progress_(done, total_bytes_);
                                           });
}

void WeightStore::count_read(std::uint64_t bytes) {
  read_bytes_ = std::min(read_bytes_ + bytes, total_bytes_);
  if (progress_) progress_(read_bytes_, total_bytes_);
}

Status WeightStore::place(std::uint32_t w) {
  const WeightPlace& place = blueprint_.weights[w];
  if (blueprint_.options.source != WeightSource::kRandom) return place_stored(w);
  tensors_[w].data = owned_.data() + place.offset;
  return store_random(w, place);
}

// Where the weight's rows begin in the mapped file.
const std::byte* WeightStore::stored_rows(const GraphWeight& weight,
                                          const StoredWeight& source) const {
  const std::uint64_t row_bytes =
      source.data->bytes / static_cast<std::uint64_t>(weight.tensor_rows);
  return source.data->data + static_cast<std::uint64_t>(weight.first_row) * row_bytes;
}

Status WeightStore::place_stored(std::uint32_t w) {
  const GraphWeight& weight = blueprint_.graph.weights[w];
  const WeightPlace& place = blueprint_.weights[w];
  const StoredWeight& source = blueprint_.stored[weight.checkpoint_index];
  rt_tensor& tensor = tensors_[w];
  if (place.mapped) {
    // Weights are read only; the C struct has one pointer for all tensors.
    tensor.data = const_cast<std::byte*>(stored_rows(weight, source));
    return {};
  }
  RT_RETURN_IF_ERROR(read_source(w));
  tensor.data = owned_.data() + place.offset;
  RT_RETURN_IF_ERROR(bring(weight, place, source, tensor));
  for (const CheckpointTensor* part : source.tensors()) drop_pages({part->data, part->bytes});
  count_read(source.bytes() * static_cast<std::uint64_t>(weight.type.shape[0]) /
             static_cast<std::uint64_t>(weight.tensor_rows));
  return {};
}

// From the mapped file to tensor.data.
Status WeightStore::bring(const GraphWeight& weight, const WeightPlace& place,
                          const StoredWeight& source, const rt_tensor& tensor) {
  const bool readable = device_.desc().host_readable != 0;
  const bool as_stored = weight.stored_dtype == 0 && !sdk::weight_is_quantized(weight.type.dtype);
  if (place.packer == kNone && as_stored && !readable) {
    return store(place, stored_rows(weight, source));  // which stays until all is loaded
  }
  const bool direct = place.packer == kNone && readable;
  void* target = direct ? tensor.data : staging(tensor_bytes(weight.type));
  convert(weight, source, target);
  if (direct) return {};
  if (place.packer != kNone) {
    rt_tensor plain = tensor;
    plain.data = target;
    return store_packed(place, plain);
  }
  RT_RETURN_IF_ERROR(store(place, target));
  return device_.synchronize();
}

// What was begun for this weight while the one before it went to the device, or all of it now; then
// the next one is begun. Where the host's memory is the device's, reading has nothing beside it.
Status WeightStore::read_source(std::uint32_t w) {
  const StoredWeight& source = blueprint_.stored[blueprint_.graph.weights[w].checkpoint_index];
  Status status;
  if (ahead_.valid() && ahead_source_ == &source) {
    status = ahead_.get();
  } else {
    status = blueprint_.checkpoint->read_ahead(source.tensors(), reading_threads(), {});
  }
  if (status.ok() && !ahead_.valid() && device_.desc().host_readable == 0) begin_next(w);
  return status;
}

void WeightStore::begin_next(std::uint32_t w) {
  const std::vector<GraphWeight>& weights = blueprint_.graph.weights;
  for (std::uint32_t next = w + 1; next < weights.size(); ++next) {
    const bool same = weights[next].checkpoint_index == weights[w].checkpoint_index;
    if (weights[next].alias_of != kNone || same) continue;
    const StoredWeight* const source = &blueprint_.stored[weights[next].checkpoint_index];
    try {
      ahead_ = std::async(std::launch::async, [this, source] {
        return blueprint_.checkpoint->read_ahead(source->tensors(), reading_threads(), {});
      });
      ahead_source_ = source;
    } catch (const std::system_error&) {
      // No thread is to be had: it is read when its turn comes.
    }
    return;
  }
}

int WeightStore::reading_threads() const {
  const std::uint32_t own = device_.desc().threads;
  return static_cast<int>(own > 0 ? own : host_threads());
}

void WeightStore::for_ranges(std::uint64_t count, std::uint64_t grain, const RangeBody& body) {
  const rt_exec& exec = device_.exec();
  if (exec.parallel_for == nullptr) return parallel_ranges(count, grain, body);
  if (count == 0) return;
  struct Loop {
    const RangeBody* body;
    FirstFailure failure;
  } loop{&body, {}};
  const auto range = [](void* arg, std::uint64_t begin, std::uint64_t end, std::uint32_t) {
    Loop& self = *static_cast<Loop*>(arg);
    self.failure.run([&] { (*self.body)(begin, end); });
  };
  exec.parallel_for(exec.device, count, grain, range, &loop);
  loop.failure.rethrow();
}

void WeightStore::for_rows(std::uint64_t rows, std::uint64_t columns, const RangeBody& body) {
  for_ranges(rows, std::max<std::uint64_t>(1, kConvertGrain / columns), body);
}

// Host memory for one weight at a time, kept for the next: fresh pages cost as much as a copy.
std::byte* WeightStore::staging(std::uint64_t bytes) {
  if (bytes > staging_bytes_) {
    staging_.reset();
    staging_ = std::make_unique_for_overwrite<std::byte[]>(bytes);
    staging_bytes_ = bytes;
  }
  return staging_.get();
}

// Writes the weight in its type to `target`, host memory.
void WeightStore::convert(const GraphWeight& weight, const StoredWeight& source, void* target) {
  WeightWriter writer(source, static_cast<std::uint64_t>(weight.first_row), weight.type, target);
  const std::uint64_t columns = element_count(weight.type) / writer.rows();
  if (writer.scan_rows() > 0) {
    for_rows(writer.scan_rows(), columns,
             [&](std::uint64_t begin, std::uint64_t end) { writer.scan(begin, end); });
  }
  writer.settle();
  for_rows(writer.rows(), columns,
           [&](std::uint64_t begin, std::uint64_t end) { writer.write(begin, end); });
  if (writer.not_finite() > 0) {
    log_warning("weight " + quote(weight.name) + ": " + std::to_string(writer.not_finite()) +
                (writer.not_finite() == 1 ? " block holds" : " blocks hold") +
                " numbers that are not finite");
  }
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
  void* target = direct ? owned_.data() + place.offset : staging(place.bytes);
  const std::uint64_t seed = blueprint_.options.random_seed;
  if (sdk::weight_is_quantized(weight.type.dtype)) {
    const sdk::WeightFormat format =
        sdk::weight_format(weight.type.dtype, static_cast<std::uint64_t>(weight.type.shape[0]),
                           static_cast<std::uint64_t>(weight.type.shape[1]));
    for_rows(format.rows, format.columns, [&](std::uint64_t begin, std::uint64_t end) {
      fill_random_rows(format, seed, w, begin, end, target);
    });
  } else {
    for_ranges(element_count(weight.type), kRandomGrain,
               [&](std::uint64_t begin, std::uint64_t end) {
                 fill_random(weight.type.dtype, weight.type.rank < 2, seed, w, begin, end, target);
               });
  }
  if (direct) return {};
  RT_RETURN_IF_ERROR(store(place, target));
  return device_.synchronize();
}

}  // namespace rt
