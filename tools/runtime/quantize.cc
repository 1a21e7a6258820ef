// `runtime quantize`: a dense checkpoint as a smaller one that bitsandbytes and transformers read,
// and this program too: nf4, nf4-dq or int8 in every matrix product but the head.
//
// The folder appears whole or not at all: it is made beside its place as "<out>.part" and renamed.
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "core/base/bytes.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/parallel.h"
#include "core/base/text.h"
#include "core/memory/bnb_tensors.h"
#include "core/memory/weight_writer.h"
#include "tools/runtime/interrupt.h"
#include "tools/runtime/loaded_model.h"
#include "tools/runtime/output.h"
#include "tools/runtime/output_file.h"
#include "tools/runtime/progress_bar.h"
#include "tools/runtime/verbs.h"

namespace rt {
namespace {

namespace fs = std::filesystem;

constexpr std::uintmax_t kCopyLimitBytes = 64 << 20;  // tokenizers; the largest seen has 34 MB

// A tensor of the checkpoint and the type it is written in.
struct Item {
  const StoredWeight* source;
  sdk::WeightFormat format;  // bytes 0: as it is
  std::string state;
};

const char* torch_name(rt_dtype dtype) {
  return dtype == RT_BF16 ? "bfloat16" : dtype == RT_F16 ? "float16" : "float32";
}

bool is_weight_file(const std::string& name) {
  for (const char* end : {".safetensors", ".safetensors.index.json", ".bin", ".pth", ".gguf"}) {
    if (name.ends_with(end)) return true;
  }
  return name == "config.json";
}

class Quantization {
 public:
  explicit Quantization(Settings& settings) : settings_(settings), bar_(settings) {}
  ~Quantization() {
    std::error_code ignored;
    if (!part_.empty()) fs::remove_all(part_, ignored);
  }

  Result<ExitCode> run() {
    RT_RETURN_IF_ERROR(read_request());
    RT_TRY(model_, draw_model(settings_, Need::kPlan));
    if (!model_.blueprint->checkpoint) {
      return bad_input("quantize: expected the folder of a checkpoint; give it with --weights DIR");
    }
    RT_RETURN_IF_ERROR(list_items());
    RT_RETURN_IF_ERROR(make_folder());
    const AnswerScope scope;
    RT_RETURN_IF_ERROR(write_weights());
    if (interrupted()) return kInterruptedExit;
    RT_RETURN_IF_ERROR(write_config());
    RT_RETURN_IF_ERROR(copy_others());
    std::error_code code;
    fs::rename(part_, out_, code);
    if (code) return environment(out_ + ": cannot be named so: " + code.message());
    part_.clear();
    log_info(out_ + ": " + format_bytes(written_bytes_) + " of weights, from " +
             format_bytes(source_bytes_));
    return 0;
  }

 private:
  Status read_request() {
    out_ = settings_.text("out");
    while (out_.size() > 1 && out_.ends_with('/')) out_.pop_back();
    if (out_.empty()) return bad_input("quantize: where to? give a new folder with --out DIR");
    const std::vector<std::string>& formats = settings_.list("weights_format");
    dtype_ = formats.size() == 1 ? parse_weight_dtype(formats[0]) : 0;
    if (!sdk::weight_is_quantized(dtype_)) {
      return bad_input(
          "quantize: expected --weights-format nf4, nf4-dq or int8 (a checkpoint of "
          "bitsandbytes has one type), found " +
          quote(formats.empty() ? "auto" : join(formats, ",")));
    }
    std::error_code code;
    if (fs::exists(out_, code)) {
      return bad_input("--out " + out_ + ": is there already; give the name of a new folder");
    }
    return {};
  }

  Status list_items() {
    const Blueprint& b = *model_.blueprint;
    std::vector<rt_dtype> wanted(b.stored.size(), 0);
    for (const GraphWeight& weight : b.graph.weights) {
      if (sdk::weight_is_quantized(weight.type.dtype)) {
        wanted[weight.checkpoint_index] = weight.type.dtype;
      }
    }
    std::uint64_t count = 0;
    for (std::size_t i = 0; i < b.stored.size(); ++i) {
      const StoredWeight& source = b.stored[i];
      if (sdk::weight_is_quantized(source.dtype)) {
        return bad_input("quantize: weight " + quote(source.name) + " is " + source.dtype_name +
                         " already; take the dense checkpoint");
      }
      Item item = {&source, {}, ""};
      if (wanted[i] != 0) {
        item.format = sdk::weight_format(wanted[i], source.shape[0], source.shape[1]);
        item.state = bnb_state(item.format, torch_name(source.dtype), nullptr);
        ++count;
      }
      source_bytes_ += source.bytes();
      items_.push_back(std::move(item));
    }
    if (count > 0) return {};
    return bad_input("quantize: no weight of " + b.options.weights + " can be quantized");
  }

  Status make_folder() {
    const std::string what = out_ + ".part";
    std::error_code code;
    if (fs::exists(what, code)) {
      return bad_input(what +
                       ": is there already, perhaps left by a run that was killed; remove it");
    }
    if (!fs::create_directory(what, code) || code) {
      return environment(what + ": cannot be made: " + code.message());
    }
    part_ = what;
    return {};
  }

  Status write_weights() {
    std::vector<PlannedTensor> tensors;
    for (const Item& item : items_) {
      if (item.format.bytes == 0) {
        tensors.push_back({item.source->name, item.source->data->dtype, item.source->shape});
        continue;
      }
      for (PlannedTensor& tensor : bnb_tensors(item.source->name, item.format, item.state.size())) {
        tensors.push_back(std::move(tensor));
      }
    }
    RT_TRY(SafetensorsWriter writer,
           SafetensorsWriter::create(part_ + "/model.safetensors", tensors, {{"format", "pt"}}));
    std::uint64_t done = 0;
    for (const Item& item : items_) {
      if (interrupted()) return {};
      RT_RETURN_IF_ERROR(write_item(item, writer));
      done += item.source->bytes();
      bar_.show(done, source_bytes_);
    }
    for (const PlannedTensor& tensor : tensors) written_bytes_ += tensor.bytes();
    RT_RETURN_IF_ERROR(model_.blueprint->checkpoint->check_unchanged());
    return writer.finish();
  }

  Status write_item(const Item& item, SafetensorsWriter& writer) {
    const StoredWeight& source = *item.source;
    if (item.format.bytes == 0) return writer.append(source.data->data, source.data->bytes);
    std::vector<std::byte> weight(item.format.bytes);
    const TensorType type = {item.format.dtype,
                             2,
                             {static_cast<std::int64_t>(item.format.rows),
                              static_cast<std::int64_t>(item.format.columns)}};
    WeightWriter encoder(source, 0, type, weight.data());
    constexpr std::uint64_t kGrainRows = 16;
    parallel_ranges(encoder.scan_rows(), kGrainRows,
                    [&](auto begin, auto end) { encoder.scan(begin, end); });
    encoder.settle();
    parallel_ranges(encoder.rows(), kGrainRows,
                    [&](auto begin, auto end) { encoder.write(begin, end); });
    if (encoder.not_finite() > 0) {
      return bad_input("weight " + quote(source.name) + ": " +
                       std::to_string(encoder.not_finite()) +
                       " blocks hold numbers that are not finite; is the checkpoint damaged?");
    }
    drop_pages({source.data->data, source.data->bytes});
    const std::string state = bnb_state(item.format, torch_name(source.dtype), weight.data());
    return bnb_append(item.format, state, weight.data(), writer);
  }

  Status write_config() {
    Json config = model_.blueprint->checkpoint->config();
    Json& quantization = config["quantization_config"];
    quantization = {{"quant_method", "bitsandbytes"},
                    {"load_in_4bit", dtype_ != RT_W_INT8},
                    {"load_in_8bit", dtype_ == RT_W_INT8},
                    {"llm_int8_threshold", 6.0},
                    {"llm_int8_skip_modules", {"lm_head"}}};
    if (dtype_ != RT_W_INT8) {
      quantization["bnb_4bit_quant_type"] = "nf4";
      quantization["bnb_4bit_use_double_quant"] = dtype_ == RT_W_NF4_DQ;
      quantization["bnb_4bit_compute_dtype"] = torch_name(model_.blueprint->weights_dtype());
      quantization["bnb_4bit_quant_storage"] = "uint8";
    }
    RT_TRY(OutputFile file, OutputFile::open("--out", part_ + "/config.json"));
    RT_RETURN_IF_ERROR(file.write(config.dump(2) + "\n"));
    return file.close();
  }

  Status copy_others() {
    std::error_code code;
    for (const fs::directory_entry& entry :
         fs::directory_iterator(model_.blueprint->options.weights, code)) {
      const std::string name = entry.path().filename();
      if (!entry.is_regular_file(code) || is_weight_file(name)) continue;
      if (entry.file_size(code) > kCopyLimitBytes) continue;
      fs::copy_file(entry.path(), part_ + "/" + name, code);
      if (code) return environment(part_ + "/" + name + ": cannot be copied: " + code.message());
    }
    return {};
  }

  Settings& settings_;
  ProgressBar bar_;
  LoadedModel model_;
  std::string out_;
  std::string part_;  // not empty: removed in the end
  rt_dtype dtype_ = 0;
  std::vector<Item> items_;
  std::uint64_t source_bytes_ = 0;
  std::uint64_t written_bytes_ = 0;
};

}  // namespace

Result<ExitCode> run_quantize(Settings& settings) {
  return Quantization(settings).run();
}

}  // namespace rt
