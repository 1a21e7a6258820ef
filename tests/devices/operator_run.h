// Runs one operator on one step, on either side of the boundary: the reference on plain memory, or
// an implementation on the toy device, at once or recorded before its data is there. Everything the
// call points to (tensors, the step's arrays, the cache, its tables) lies on that side.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <string>
#include <vector>

#include "core/sdk/number.hpp"
#include "core/sdk/sdk.hpp"
#include "tests/devices/loaded_plugin.h"

namespace rt::test {

using Bytes = std::vector<std::byte>;

// Memory on one side.
class Side {
 public:
  virtual ~Side() = default;
  virtual void* put(const void* data, std::uint64_t bytes) = 0;  // a copy
  virtual Bytes get(const void* address, std::uint64_t bytes) = 0;
  virtual const rt_exec& exec() const = 0;
  virtual void before_execute() {}
  virtual void after_execute() {}

  template <class T>
  T* put(const std::vector<T>& array) {
    return static_cast<T*>(put(array.data(), array.size() * sizeof(T)));
  }
};

class HostSide : public Side {
 public:
  void* put(const void* data, std::uint64_t bytes) override {
    const auto* first = static_cast<const std::byte*>(data);
    return kept_.emplace_back(first, first + bytes).data();
  }
  Bytes get(const void* address, std::uint64_t bytes) override {
    const auto* first = static_cast<const std::byte*>(address);
    return Bytes(first, first + bytes);
  }
  const rt_exec& exec() const override { return exec_; }
  using Side::put;

 private:
  static void serial(void*, std::uint64_t count, std::uint64_t, rt_range_fn fn, void* arg) {
    if (count > 0) fn(arg, 0, count, 0);
  }
  std::deque<Bytes> kept_;
  rt_exec exec_ = {sizeof(rt_exec), 1, nullptr, nullptr, serial};
};

class ToySide : public Side {
 public:
  // recorded: execute() is recorded on memory that holds nothing yet; then the data comes, then the
  // replay.
  ToySide(Toy& toy, bool recorded) : toy_(toy), recorded_(recorded) {}

  void* put(const void* data, std::uint64_t bytes) override {
    const auto* first = static_cast<const std::byte*>(data);
    void* address = toy_.allocate(std::max<std::uint64_t>(bytes, 1));
    uploads_.push_back({address, Bytes(first, first + bytes)});
    if (!recorded_) send(uploads_.back());
    return address;
  }
  Bytes get(const void* address, std::uint64_t bytes) override {
    Bytes out(bytes);
    EXPECT_EQ(toy_.download(out.data(), address, bytes), RT_OK) << refusal;
    EXPECT_EQ(toy_.synchronize(), RT_OK) << refusal;
    return out;
  }
  const rt_exec& exec() const override { return exec_; }
  void before_execute() override {
    if (recorded_) {
      EXPECT_EQ(toy_.api.capture_begin(toy_.device, toy_.stream), RT_OK);
    }
  }
  void after_execute() override {
    if (!recorded_) return;
    void* graph = nullptr;
    EXPECT_EQ(toy_.api.capture_end(toy_.device, toy_.stream, &graph), RT_OK);
    for (const Upload& upload : uploads_) send(upload);
    EXPECT_EQ(toy_.api.replay(toy_.device, toy_.stream, graph), RT_OK) << refusal;
    toy_.api.graph_destroy(toy_.device, graph);
  }
  using Side::put;

 private:
  struct Upload {
    void* to;
    Bytes data;
  };
  void send(const Upload& upload) {
    EXPECT_EQ(toy_.upload(upload.to, upload.data.data(), upload.data.size()), RT_OK) << refusal;
  }

  Toy& toy_;
  const bool recorded_;
  std::deque<Upload> uploads_;  // alive and unchanged until synchronize
  rt_exec exec_ = {sizeof(rt_exec), 0, toy_.device, toy_.stream, nullptr};
};

// Attributes of a case; what is left out has the schema's default.
struct Attr {
  const char* name;
  double number = 0;
  const char* text = nullptr;
  std::vector<double> list = {};
};

struct Input {
  std::vector<std::int64_t> shape;  // T and R as RT_DIM_TOKENS and RT_DIM_ROWS
  rt_dtype dtype = RT_F32;
};

struct Case {
  const char* op;
  std::vector<Attr> attrs = {};
  std::vector<Input> inputs = {};
  rt_kv_form kv_form = RT_KV_AFFINE;  // nodes with KV state only
  rt_dtype kv_dtype = RT_F32;
};

// The step of all cases: T = 5 tokens of B = 2 sequences, the first with 6 tokens in its cache, the
// second new; R = 2 rows; class 1 of C = 2 is used, stripes have S = 4 tokens.
struct StepArrays {
  std::vector<std::int32_t> token_ids = {3, 0, 6, 1, 1};
  std::vector<std::int32_t> positions = {6, 7, 8, 0, 1};
  std::vector<std::int32_t> token_sequence = {0, 0, 0, 1, 1};
  std::vector<std::int32_t> token_offsets = {0, 3, 5};
  std::vector<std::int32_t> lengths = {9, 2};
  std::vector<std::int32_t> row_tokens = {2, 4};
  std::vector<std::int32_t> rope_regimes = {1, 0};
  std::vector<std::int32_t> history = {9, 4, 4, 2};
  std::vector<rt_sampling> sampling = std::vector<rt_sampling>(2);

  StepArrays();
};

constexpr std::uint32_t kClasses = 2;
constexpr std::uint32_t kClass = 1;
constexpr std::uint64_t kStripeTokens = 4;
constexpr std::uint64_t kRingStripes = 3;

// What came out: the outputs, then the whole cache.
std::vector<Bytes> run(const rt_implementation& implementation, const Case& c, Side& side,
                       const StepArrays& arrays = {}, rt_status* status = nullptr);

const rt_schema* schema_of(const std::string& op);
const rt_implementation* implementation_of(const rt_plugin& plugin, const std::string& op);

}  // namespace rt::test
