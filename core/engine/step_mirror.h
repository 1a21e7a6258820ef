// The rt_step of a session: one block of memory with every array of step.h at its declared bound,
// at device addresses that never change. The host fills one of two staging blocks while the other
// may still be on its way; on devices whose memory the host reads there is one block and no copy.
//
//   | token_ids i32[U] | positions i32[U] | token_sequence i32[U] | token_offsets i32[B+1] |
//   | lengths i32[B] | row_tokens i32[R] | rope_regimes i32[B] | kv_bases u64[C, B] |
//   | kv_tables u64[C, B] | sampling rt_sampling[R] | history i32[B, history_tokens] |
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "core/base/result.h"
#include "core/memory/open_device.h"
#include "core/sdk/operator.h"

namespace rt {

struct StepMirrorBounds {
  std::uint32_t tokens = 0;          // U
  std::uint32_t sequences = 0;       // B
  std::uint32_t rows = 0;            // R
  std::uint32_t kv_classes = 0;      // C
  std::uint32_t history_tokens = 0;  // per sequence
};

class StepMirror {
 public:
  // What make() will charge to MemoryKind::kStep.
  static std::uint64_t charged_bytes(const StepMirrorBounds& bounds);
  static Result<std::unique_ptr<StepMirror>> make(OpenDevice& device,
                                                  const StepMirrorBounds& bounds);

  // The arrays of the coming step, writable by the host. Counts are the caller's to set.
  struct Arrays {
    std::int32_t* token_ids;
    std::int32_t* positions;
    std::int32_t* token_sequence;
    std::int32_t* token_offsets;
    std::int32_t* lengths;
    std::int32_t* row_tokens;
    std::int32_t* rope_regimes;
    std::uint64_t* kv_bases;
    std::uint64_t* kv_tables;       // of device addresses
    std::uint64_t* host_kv_tables;  // of the same tables where the host can read them; not sent
    rt_sampling* sampling;
    std::int32_t* history;
  };
  // Switches to the other staging block and returns it.
  const Arrays& begin();

  // Sends the staging block to the device and publishes the counts.
  Status publish(std::uint32_t tokens, std::uint32_t sequences, std::uint32_t rows);

  const rt_step& host_step() const { return host_step_; }      // arrays on the host
  const rt_step& device_step() const { return device_step_; }  // arrays on the device
  const StepMirrorBounds& bounds() const { return bounds_; }

 private:
  StepMirror(OpenDevice& device, const StepMirrorBounds& bounds)
      : device_(device), bounds_(bounds) {}
  static Arrays place(std::byte* block, const StepMirrorBounds& bounds, std::uint64_t* bytes);
  rt_step view(const Arrays& arrays) const;

  OpenDevice& device_;
  StepMirrorBounds bounds_;
  Buffer block_;
  std::uint64_t block_bytes_ = 0;
  std::array<std::vector<std::byte>, 2> staging_;
  std::vector<std::uint64_t> host_kv_tables_;  // u64[C, B]
  std::array<Arrays, 2> arrays_{};
  std::size_t current_ = 0;
  rt_step host_step_{};
  rt_step device_step_{};
};

}  // namespace rt
