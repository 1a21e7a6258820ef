#include "core/memory/stored_weight.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <optional>
#include <set>

#include "core/base/bytes.h"
#include "core/base/json.h"
#include "core/base/text.h"
#include "core/sdk/number.hpp"
#include "core/sdk/sdk.hpp"
#include "core/sdk/weight_format.hpp"

namespace rt {
namespace {

constexpr std::string_view kState = ".quant_state.bitsandbytes__";
constexpr std::uint64_t kStateLimitBytes = 64 << 10;
constexpr std::uint64_t kMostElements = std::uint64_t{1} << 48;

rt_dtype dense_dtype(SafetensorsDtype dtype) {
  switch (dtype) {
    case SafetensorsDtype::kF32:
      return RT_F32;
    case SafetensorsDtype::kBF16:
      return RT_BF16;
    case SafetensorsDtype::kF16:
      return RT_F16;
    default:
      return 0;
  }
}

std::string found_text(const CheckpointTensor& tensor) {
  return describe(tensor.dtype, tensor.shape);
}

std::uint64_t elements(const CheckpointTensor& tensor) {
  return tensor.bytes / (bits_of(tensor.dtype) / 8);
}

bool finite_numbers(const CheckpointTensor& tensor) {
  for (std::uint64_t i = 0; i < elements(tensor); ++i) {
    if (!std::isfinite(sdk::load_number(tensor.data, RT_F32, i))) return false;
  }
  return true;
}

// What quant_state's JSON says.
struct QuantState {
  std::uint64_t rows = 0;
  std::uint64_t columns = 0;
  std::uint64_t block = 0;
  bool nested = false;
  std::uint64_t nested_block = 0;
  double offset = 0;
};

std::optional<std::uint64_t> natural(const Json& json, const char* key) {
  const auto found = json.find(key);
  if (found == json.end() || !found->is_number_unsigned()) return std::nullopt;
  return found->get<std::uint64_t>();
}

class Gatherer {
 public:
  explicit Gatherer(const Checkpoint& checkpoint) : checkpoint_(checkpoint) {}

  Result<std::vector<StoredWeight>> run() {
    RT_RETURN_IF_ERROR(check_method());
    for (const CheckpointTensor& tensor : checkpoint_.tensors()) {
      const std::size_t state = tensor.name.find(kState);
      if (state != std::string::npos) {
        RT_RETURN_IF_ERROR(gather_nf4(tensor, tensor.name.substr(0, state)));
      } else if (tensor.name.ends_with(".SCB")) {
        RT_RETURN_IF_ERROR(gather_int8(tensor));
      }
    }
    RT_RETURN_IF_ERROR(check_claims());
    for (const CheckpointTensor& tensor : checkpoint_.tensors()) {
      if (taken_.contains(&tensor)) continue;
      StoredWeight weight;
      weight.name = tensor.name;
      weight.dtype = dense_dtype(tensor.dtype);
      weight.dtype_name = name_of(tensor.dtype);
      weight.shape = tensor.shape;
      weight.data = &tensor;
      weights_.push_back(std::move(weight));
    }
    std::sort(weights_.begin(), weights_.end(),
              [](const StoredWeight& a, const StoredWeight& b) { return a.name < b.name; });
    return std::move(weights_);
  }

 private:
  Error refuse(const std::string& tensor, const std::string& message) const {
    return bad_input(checkpoint_.folder() + ": tensor " + quote(tensor) + ": " + message);
  }

  const Json* quantization() const {
    const Json& config = checkpoint_.config();
    const auto found = config.find("quantization_config");
    return found == config.end() || !found->is_object() ? nullptr : &*found;
  }

  // Another method's tensors would be refused one by one, by names that nobody reads.
  Status check_method() const {
    const Json* config = quantization();
    if (config == nullptr) return {};
    const Json method = config->value("quant_method", Json("bitsandbytes"));
    if (method == "bitsandbytes") return {};
    return bad_input(
        checkpoint_.folder() +
        "/config.json: quantization_config.quant_method: expected bitsandbytes, found " +
        method.dump() + "; use the dense checkpoint with --weights-format nf4 or int8");
  }

  Status check_claims() const {
    const Json* config = quantization();
    if (config == nullptr) return {};
    const auto claims = [&](const char* key) {
      const auto found = config->find(key);
      return found != config->end() && found->is_boolean() && found->get<bool>();
    };
    const auto holds = [&](bool four_bits) {
      return std::any_of(weights_.begin(), weights_.end(), [&](const StoredWeight& weight) {
        return (weight.dtype != RT_W_INT8) == four_bits;
      });
    };
    const bool four = claims("load_in_4bit") || claims("_load_in_4bit");
    const bool eight = claims("load_in_8bit") || claims("_load_in_8bit");
    const auto contradicts = [&](const char* claim, const char* found) {
      return bad_input(checkpoint_.folder() + "/config.json: quantization_config says " + claim +
                       ", the tensors are " + found + "; was another checkpoint's config copied?");
    };
    if (eight && !four && holds(true)) return contradicts("load_in_8bit", "4-bit (quant_state)");
    if (four && !eight && holds(false)) return contradicts("load_in_4bit", "8-bit (SCB)");
    return {};
  }

  // The companion of `name`, of that type; marks it as no weight of its own.
  Result<const CheckpointTensor*> take(const std::string& name, SafetensorsDtype dtype,
                                       std::uint64_t count, const std::string& weight) {
    const CheckpointTensor* tensor = checkpoint_.find(name);
    if (tensor == nullptr) return refuse(weight, "expected " + quote(name) + " beside it");
    if (tensor->dtype != dtype || (count != 0 && elements(*tensor) != count)) {
      return refuse(name, "expected " + std::string(name_of(dtype)) + " of " +
                              std::to_string(count) + " elements, found " + found_text(*tensor));
    }
    taken_.insert(tensor);
    return tensor;
  }

  Result<QuantState> read_state(const CheckpointTensor& tensor, const std::string& weight) const {
    if (tensor.name.substr(weight.size() + kState.size()) != "nf4") {
      return refuse(tensor.name,
                    "expected bitsandbytes' nf4, found another 4-bit type; quantize "
                    "the dense checkpoint with --weights-format nf4");
    }
    if (tensor.dtype != SafetensorsDtype::kU8 || tensor.bytes == 0 ||
        tensor.bytes > kStateLimitBytes) {
      return refuse(tensor.name,
                    "expected JSON in U8 of at most 65536 bytes, found " + found_text(tensor));
    }
    const std::string_view text(reinterpret_cast<const char*>(tensor.data), tensor.bytes);
    RT_TRY(const Json json,
           parse_json(text, checkpoint_.folder() + ": tensor " + quote(tensor.name)));
    return parse_state(json, tensor.name);
  }

  Result<QuantState> parse_state(const Json& json, const std::string& name) const {
    static const std::set<std::string> kKeys = {"quant_type",   "blocksize",        "dtype",
                                                "shape",        "nested_blocksize", "nested_dtype",
                                                "nested_offset"};
    if (!json.is_object()) return refuse(name, "expected a JSON object");
    for (const auto& [key, value] : json.items()) {
      if (!kKeys.contains(key)) return refuse(name, "unknown key " + quote(key));
    }
    if (json.value("quant_type", Json()) != "nf4") {
      return refuse(
          name, "quant_type: expected \"nf4\", found " + json.value("quant_type", Json()).dump());
    }
    QuantState state;
    const auto shape = json.find("shape");
    const bool pair = shape != json.end() && shape->is_array() && shape->size() == 2 &&
                      (*shape)[0].is_number_unsigned() && (*shape)[1].is_number_unsigned();
    if (!pair) return refuse(name, "shape: expected [rows, columns]");
    state.rows = (*shape)[0].get<std::uint64_t>();
    state.columns = (*shape)[1].get<std::uint64_t>();
    std::uint64_t count = 0;
    if (!checked_mul(state.rows, state.columns, &count) || count == 0 || count > kMostElements) {
      return refuse(name, "shape: expected between 1 and 2^48 elements, found " + shape->dump());
    }
    state.block = natural(json, "blocksize").value_or(0);
    const bool power = state.block != 0 && (state.block & (state.block - 1)) == 0;
    if (!power || state.block < 64 || state.block > 4096) {
      return refuse(name, "blocksize: expected 64, 128, ... or 4096, found " +
                              json.value("blocksize", Json()).dump());
    }
    return parse_nested(json, name, state);
  }

  Result<QuantState> parse_nested(const Json& json, const std::string& name,
                                  QuantState state) const {
    state.nested = json.contains("nested_blocksize") || json.contains("nested_offset");
    if (!state.nested) return state;
    state.nested_block = natural(json, "nested_blocksize").value_or(0);
    if (state.nested_block != sdk::kNestedBlock) {
      return refuse(name, "nested_blocksize: expected 256, found " +
                              json.value("nested_blocksize", Json()).dump());
    }
    const auto offset = json.find("nested_offset");
    if (offset == json.end() || !offset->is_number() || !std::isfinite(offset->get<double>())) {
      return refuse(name, "nested_offset: expected a finite number");
    }
    state.offset = offset->get<double>();
    return state;
  }

  Status gather_nf4(const CheckpointTensor& state_tensor, const std::string& name) {
    if (!gathered_.insert(name).second) return refuse(name, "has two quant_state tensors");
    RT_TRY(const QuantState state, read_state(state_tensor, name));
    taken_.insert(&state_tensor);
    const std::uint64_t count = state.rows * state.columns;
    StoredWeight weight;
    weight.name = name;
    weight.shape = {state.rows, state.columns};
    weight.block = state.block;
    weight.data = checkpoint_.find(name);
    if (weight.data == nullptr) return refuse(state_tensor.name, "there is no " + quote(name));
    const bool plain =
        weight.data->dtype == SafetensorsDtype::kU8 || dense_dtype(weight.data->dtype) != 0;
    if (!plain || weight.data->bytes != (count + 1) / 2) {
      return refuse(name, "expected U8 of " + std::to_string((count + 1) / 2) +
                              " elements (two codes each), found " + found_text(*weight.data));
    }
    taken_.insert(weight.data);
    const std::uint64_t blocks = (count + state.block - 1) / state.block;
    RT_RETURN_IF_ERROR(gather_scales(state, blocks, weight));
    RT_TRY(const CheckpointTensor* codes,
           take(name + ".quant_map", SafetensorsDtype::kF32, 16, name));
    if (std::memcmp(codes->data, sdk::kNf4, sizeof sdk::kNf4) != 0) {
      return refuse(codes->name, "expected the 16 values of NF4, found others");
    }
    // Rows of whole blocks of 64 keep their second quantization; others get f32 scales.
    const bool doubled = state.nested && state.block == 64 && state.columns % 64 == 0;
    weight.dtype = doubled ? RT_W_NF4_DQ : RT_W_NF4;
    weight.dtype_name = sdk::dtype_name(weight.dtype);
    weights_.push_back(std::move(weight));
    return {};
  }

  Status gather_scales(const QuantState& state, std::uint64_t blocks, StoredWeight& weight) {
    const std::string& name = weight.name;
    const auto scale_type = state.nested ? SafetensorsDtype::kU8 : SafetensorsDtype::kF32;
    RT_TRY(weight.scales, take(name + ".absmax", scale_type, blocks, name));
    if (!state.nested) {
      if (finite_numbers(*weight.scales)) return {};
      return refuse(weight.scales->name, "holds a scale that is not finite");
    }
    const std::uint64_t nested = (blocks + sdk::kNestedBlock - 1) / sdk::kNestedBlock;
    RT_TRY(weight.nested, take(name + ".nested_absmax", SafetensorsDtype::kF32, nested, name));
    RT_TRY(weight.map, take(name + ".nested_quant_map", SafetensorsDtype::kF32, 256, name));
    weight.offset = static_cast<float>(state.offset);
    if (finite_numbers(*weight.nested) && finite_numbers(*weight.map)) return {};
    return refuse(weight.nested->name, "it or its map holds a number that is not finite");
  }

  Status gather_int8(const CheckpointTensor& scales) {
    const std::string stem = scales.name.substr(0, scales.name.size() - 4);
    const CheckpointTensor* codes = checkpoint_.find(stem + ".weight");
    if (codes == nullptr) return refuse(scales.name, "there is no " + quote(stem + ".weight"));
    if (codes->dtype != SafetensorsDtype::kI8 || codes->shape.size() != 2 || codes->bytes == 0) {
      return refuse(codes->name, "expected I8 [rows, columns] beside " + quote(scales.name) +
                                     ", found " + found_text(*codes));
    }
    StoredWeight weight;
    weight.name = codes->name;
    weight.dtype = RT_W_INT8;
    weight.dtype_name = sdk::dtype_name(weight.dtype);
    weight.shape = codes->shape;
    weight.data = codes;
    RT_TRY(weight.scales, take(scales.name, SafetensorsDtype::kF32, codes->shape[0], codes->name));
    for (std::uint64_t row = 0; row < codes->shape[0]; ++row) {
      const float scale = sdk::load_number(scales.data, RT_F32, row);
      if (std::isfinite(scale) && scale >= 0) continue;
      return refuse(scales.name,
                    "row " + std::to_string(row) + ": expected a finite scale of at least 0");
    }
    taken_.insert(codes);
    RT_RETURN_IF_ERROR(check_row_major(stem));
    weights_.push_back(std::move(weight));
    return {};
  }

  // 0 is row-major; the others are layouts of old GPUs.
  Status check_row_major(const std::string& stem) {
    const CheckpointTensor* format = checkpoint_.find(stem + ".weight_format");
    if (format == nullptr) return {};
    if (format->dtype != SafetensorsDtype::kU8 || format->bytes != 1) {
      return refuse(format->name, "expected one U8, found " + found_text(*format));
    }
    taken_.insert(format);
    if (static_cast<int>(*format->data) == 0) return {};
    return refuse(format->name, "expected 0 (row-major), found " +
                                    std::to_string(static_cast<int>(*format->data)) +
                                    "; save the checkpoint again with a newer bitsandbytes");
  }

  const Checkpoint& checkpoint_;
  std::vector<StoredWeight> weights_;
  std::set<const CheckpointTensor*> taken_;
  std::set<std::string> gathered_;
};

}  // namespace

std::vector<const CheckpointTensor*> StoredWeight::tensors() const {
  std::vector<const CheckpointTensor*> all;
  for (const CheckpointTensor* tensor : {data, scales, nested, map}) {
    if (tensor != nullptr) all.push_back(tensor);
  }
  return all;
}

std::uint64_t StoredWeight::bytes() const {
  std::uint64_t sum = 0;
  for (const CheckpointTensor* tensor : tensors()) sum += tensor->bytes;
  return sum;
}

Result<std::vector<StoredWeight>> stored_weights(const Checkpoint& checkpoint) {
  return Gatherer(checkpoint).run();
}

}  // namespace rt
