#include "core/engine/step_mirror.h"

#include "core/base/bytes.h"

namespace rt {
namespace {

constexpr std::uint64_t kArrayAlignment = 64;

// Hands out aligned pieces of a block; with a null block it only counts.
class Carver {
 public:
  explicit Carver(std::byte* block) : block_(block) {}
  template <class T>
  T* take(std::uint64_t count) {
    const std::uint64_t offset = bytes_;
    bytes_ = round_up(bytes_ + count * sizeof(T), kArrayAlignment);
    return block_ == nullptr ? nullptr : reinterpret_cast<T*>(block_ + offset);
  }
  std::uint64_t bytes() const { return bytes_; }

 private:
  std::byte* block_;
  std::uint64_t bytes_ = 0;
};

}  // namespace

StepMirror::Arrays StepMirror::place(std::byte* block, const StepMirrorBounds& bounds,
                                     std::uint64_t* bytes) {
  Carver carver(block);
  const std::uint64_t cells = std::uint64_t{bounds.kv_classes} * bounds.sequences;
  Arrays arrays{};
  arrays.token_ids = carver.take<std::int32_t>(bounds.tokens);
  arrays.positions = carver.take<std::int32_t>(bounds.tokens);
  arrays.token_sequence = carver.take<std::int32_t>(bounds.tokens);
  arrays.token_offsets = carver.take<std::int32_t>(std::uint64_t{bounds.sequences} + 1);
  arrays.lengths = carver.take<std::int32_t>(bounds.sequences);
  arrays.row_tokens = carver.take<std::int32_t>(bounds.rows);
  arrays.rope_regimes = carver.take<std::int32_t>(bounds.sequences);
  arrays.kv_bases = carver.take<std::uint64_t>(cells);
  arrays.kv_tables = carver.take<std::uint64_t>(cells);
  arrays.sampling = carver.take<rt_sampling>(bounds.rows);
  arrays.history =
      carver.take<std::int32_t>(std::uint64_t{bounds.sequences} * bounds.history_tokens);
  *bytes = carver.bytes();
  return arrays;
}

std::uint64_t StepMirror::charged_bytes(const StepMirrorBounds& bounds) {
  std::uint64_t bytes = 0;
  place(nullptr, bounds, &bytes);
  return Buffer::charged_bytes(bytes);
}

rt_step StepMirror::view(const Arrays& arrays) const {
  rt_step step{};
  step.struct_size = sizeof(rt_step);
  step.kv_classes = bounds_.kv_classes;
  step.token_ids = arrays.token_ids;
  step.positions = arrays.positions;
  step.token_sequence = arrays.token_sequence;
  step.token_offsets = arrays.token_offsets;
  step.lengths = arrays.lengths;
  step.row_tokens = arrays.row_tokens;
  step.rope_regimes = arrays.rope_regimes;
  step.kv_bases = arrays.kv_bases;
  step.kv_tables = arrays.kv_tables;
  step.sampling = arrays.sampling;
  step.history = arrays.history;
  return step;
}

Result<std::unique_ptr<StepMirror>> StepMirror::make(OpenDevice& device,
                                                     const StepMirrorBounds& bounds) {
  std::unique_ptr<StepMirror> mirror(new StepMirror(device, bounds));
  place(nullptr, bounds, &mirror->block_bytes_);
  RT_TRY(mirror->block_, Buffer::make(device, MemoryKind::kStep, mirror->block_bytes_));
  std::uint64_t bytes = 0;
  const Arrays on_device = place(mirror->block_.data(), bounds, &bytes);
  mirror->device_step_ = mirror->view(on_device);
  mirror->host_kv_tables_.resize(std::size_t{bounds.kv_classes} * bounds.sequences);
  for (std::size_t i = 0; i < 2; ++i) {
    if (device.desc().host_readable != 0) {
      mirror->arrays_[i] = on_device;
    } else {
      mirror->staging_[i].resize(bytes);
      mirror->arrays_[i] = place(mirror->staging_[i].data(), bounds, &bytes);
    }
    mirror->arrays_[i].host_kv_tables = mirror->host_kv_tables_.data();
  }
  return mirror;
}

const StepMirror::Arrays& StepMirror::begin() {
  current_ ^= 1;
  return arrays_[current_];
}

Status StepMirror::publish(std::uint32_t tokens, std::uint32_t sequences, std::uint32_t rows) {
  host_step_ = view(arrays_[current_]);
  host_step_.kv_tables = arrays_[current_].host_kv_tables;
  for (rt_step* step : {&host_step_, &device_step_}) {
    step->tokens = tokens;
    step->sequences = sequences;
    step->rows = rows;
  }
  if (device_.desc().host_readable != 0) return {};
  return device_.upload(block_.data(), staging_[current_].data(), block_bytes_);
}

}  // namespace rt
