#include "core/memory/checkpoint.h"

#include <algorithm>
#include <map>
#include <new>
#include <set>

#include "core/base/bytes.h"
#include "core/base/json.h"
#include "core/base/text.h"
#include "core/memory/config_json.h"

namespace rt {
namespace {

constexpr const char* kSingle = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";

// The largest index seen is 9 MB (91,000 tensors).
constexpr std::uint64_t kIndexLimitBytes = std::uint64_t{32} << 20;

// How many names a warning lists.
constexpr std::size_t kListedNames = 5;

bool ends_with(std::string_view text, std::string_view end) {
  return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}

// Why a folder has no weights that we read, and what to do.
Error no_weights(const ModelFolder& folder) {
  const std::string start = folder.path() + ": expected " + kSingle + " or " + kIndex + ", found ";
  bool shards = false, pickled = false, gguf = false;
  for (const std::string& name : folder.names()) {
    shards = shards || ends_with(name, ".safetensors");
    pickled = pickled || ends_with(name, ".bin") || ends_with(name, ".pth");
    gguf = gguf || ends_with(name, ".gguf");
  }
  if (shards) return bad_input(start + "*.safetensors without an index; download the index too");
  if (pickled) {
    return bad_input(start +
                     "a pickled checkpoint; convert it to safetensors (transformers: "
                     "model.save_pretrained(folder, safe_serialization=True))");
  }
  if (gguf) return bad_input(start + "a GGUF file; download the safetensors checkpoint instead");
  return bad_input(start + "neither; was the download finished?");
}

std::string listed(const std::vector<std::string>& names) {
  std::string text;
  for (std::size_t i = 0; i < std::min(names.size(), kListedNames); ++i) {
    text += (i > 0 ? ", " : "") + quote(names[i]);
  }
  return names.size() > kListedNames ? text + ", ..." : text;
}

CheckpointTensor make_tensor(SafetensorsEntry entry, const MappedFile& file,
                             std::uint32_t file_index) {
  CheckpointTensor tensor;
  tensor.name = std::move(entry.name);
  tensor.dtype = entry.dtype;
  tensor.shape.assign(entry.shape().begin(), entry.shape().end());
  tensor.bytes = entry.end - entry.begin;
  tensor.file_index = file_index;
  tensor.offset = entry.begin;
  tensor.data = file.data() + entry.begin;
  tensor.aligned = reinterpret_cast<std::uintptr_t>(tensor.data) % (bits_of(entry.dtype) / 8) == 0;
  return tensor;
}

// weight_map of an index: a file name (string) by tensor name.
Result<const Json*> weight_map_of(const Json& index, const std::string& where) {
  const auto found = index.find("weight_map");
  if (found == index.end() || !found->is_object()) {
    return bad_input(where + ": expected an object 'weight_map'");
  }
  for (const auto& [name, file] : found->items()) {
    if (!file.is_string()) {
      return bad_input(where + ": weight_map: tensor " + quote(name) +
                       ": expected a file name, found " + file.type_name());
    }
  }
  if (found->empty()) return bad_input(where + ": weight_map is empty");
  return &*found;
}

}  // namespace

Result<Checkpoint> Checkpoint::open(const std::string& folder_path) {
  try {
    RT_TRY(const ModelFolder folder, ModelFolder::open(folder_path));
    Checkpoint checkpoint;
    checkpoint.folder_ = folder.path();
    RT_TRY(ModelConfig config, read_model_config(folder));
    checkpoint.config_ = std::make_shared<const ModelConfig>(std::move(config));
    RT_RETURN_IF_ERROR(checkpoint.read_folder(folder));
    checkpoint.name_guards();
    return checkpoint;
  } catch (const std::bad_alloc&) {
    return environment(folder_path + ": out of memory while reading the checkpoint's headers");
  }
}

// transformers reads model.safetensors first where a folder has both; so does this.
Status Checkpoint::read_folder(const ModelFolder& folder) {
  const bool sharded = folder.has(kIndex);
  if (!folder.has(kSingle)) return sharded ? read_sharded(folder) : no_weights(folder);
  if (sharded) {
    warnings_.push_back(folder_ + ": has both " + kSingle + " and " + kIndex +
                        "; the index is ignored");
  }
  RT_RETURN_IF_ERROR(add_file(folder, kSingle));
  return index_names();
}

Status Checkpoint::read_sharded(const ModelFolder& folder) {
  const std::string where = folder_ + "/" + kIndex;
  RT_TRY(const Json index, read_folder_json(folder, kIndex, kIndexLimitBytes));
  RT_TRY(const Json* weight_map, weight_map_of(index, where));
  std::set<std::string> shards;
  for (const Json& file : *weight_map) shards.insert(file.get_ref<const std::string&>());
  for (const std::string& shard : shards) {
    if (Status added = add_file(folder, shard); !added.ok()) {
      return in(where + ": weight_map names shard " + quote(shard), std::move(added).error());
    }
  }
  RT_RETURN_IF_ERROR(index_names());
  return check_index(index, where);
}

Status Checkpoint::add_file(const ModelFolder& folder, const std::string& name) {
  RT_TRY(MappedFile file, folder.map(name));
  RT_TRY(SafetensorsHeader header, parse_safetensors(file.text(), file.size(), file.path()));
  if (tensors_.size() + header.tensors.size() > kSafetensorsTensorLimit) {
    return bad_input(folder_ + ": expected at most 1000000 tensors in all shards, found more");
  }
  const auto file_index = static_cast<std::uint32_t>(files_.size());
  for (SafetensorsEntry& entry : header.tensors) {
    tensors_.push_back(make_tensor(std::move(entry), file, file_index));
  }
  files_.push_back(std::move(file));
  return {};
}

// Sorts the tensors by name; a name is in one file only.
Status Checkpoint::index_names() {
  const auto by_name = [](const CheckpointTensor& a, const CheckpointTensor& b) {
    return a.name < b.name;
  };
  std::sort(tensors_.begin(), tensors_.end(), by_name);
  const auto twice =
      std::adjacent_find(tensors_.begin(), tensors_.end(),
                         [](const auto& a, const auto& b) { return a.name == b.name; });
  if (twice == tensors_.end()) return {};
  return bad_input(folder_ + ": tensor " + quote(twice->name) +
                   " is in two shards: " + files_[twice->file_index].path() + " and " +
                   files_[(twice + 1)->file_index].path());
}

Status Checkpoint::check_index(const Json& index, const std::string& where) {
  const Json& weight_map = index["weight_map"];
  std::vector<std::string> extra;
  std::uint64_t indexed_bytes = 0;
  for (const auto& [name, file] : weight_map.items()) {
    const std::string& shard = file.get_ref<const std::string&>();
    const CheckpointTensor* tensor = find(name);
    const std::string claim =
        where + ": weight_map places tensor " + quote(name) + " in " + quote(shard);
    if (tensor == nullptr) return bad_input(claim + ", which does not hold it");
    const std::string& path = files_[tensor->file_index].path();
    if (path != folder_ + "/" + shard) return bad_input(claim + ", found it in " + path);
    indexed_bytes += tensor->bytes;
  }
  for (const CheckpointTensor& tensor : tensors_) {
    if (!weight_map.contains(tensor.name)) extra.push_back(tensor.name);
  }
  if (!extra.empty()) {
    warnings_.push_back(where + ": the shards hold " + std::to_string(extra.size()) +
                        " tensors that the index does not list: " + listed(extra));
  }
  const auto metadata = index.find("metadata");
  if (metadata == index.end() || !metadata->is_object()) return {};
  const Json size = metadata->value("total_size", Json());
  // Some writers give a float, or count a tied weight twice: nothing depends on this number.
  if (size.is_number() && size.get<double>() != static_cast<double>(indexed_bytes)) {
    warnings_.push_back(where + ": metadata.total_size is " + size.dump() +
                        ", the listed tensors have " + std::to_string(indexed_bytes) + " bytes");
  }
  return {};
}

void Checkpoint::name_guards() {
  std::vector<std::vector<GuardedTensor>> by_file(files_.size());
  for (const CheckpointTensor& tensor : tensors_) {
    by_file[tensor.file_index].push_back(
        {tensor.offset, tensor.offset + tensor.bytes, tensor.name});
  }
  for (std::size_t i = 0; i < files_.size(); ++i) {
    std::sort(by_file[i].begin(), by_file[i].end(), [](const auto& a, const auto& b) {
      return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
    });
    files_[i].guard().name_tensors(std::move(by_file[i]));
  }
}

const CheckpointTensor* Checkpoint::find(std::string_view name) const {
  const auto at = std::lower_bound(
      tensors_.begin(), tensors_.end(), name,
      [](const CheckpointTensor& tensor, std::string_view wanted) { return tensor.name < wanted; });
  return at != tensors_.end() && at->name == name ? &*at : nullptr;
}

std::vector<std::string> Checkpoint::names() const {
  std::vector<std::string> names;
  names.reserve(tensors_.size());
  for (const CheckpointTensor& tensor : tensors_) names.push_back(tensor.name);
  return names;
}

const Json& Checkpoint::config() const {
  return config_->config;
}

const Json* Checkpoint::generation_config() const {
  return config_->generation_config ? &*config_->generation_config : nullptr;
}

std::uint64_t Checkpoint::total_bytes() const {
  std::uint64_t total = 0;
  for (const CheckpointTensor& tensor : tensors_) total += tensor.bytes;
  return total;
}

Status Checkpoint::check_unchanged() const {
  for (const MappedFile& file : files_) RT_RETURN_IF_ERROR(file.check_unchanged());
  return {};
}

Status Checkpoint::read_ahead(std::span<const CheckpointTensor* const> tensors, int threads,
                              const ReadProgress& progress) const {
  std::vector<ByteRange> ranges;
  for (const CheckpointTensor* tensor : tensors) ranges.push_back({tensor->data, tensor->bytes});
  // In the order of the disk, and neighbours as one range, so that no page is counted twice.
  std::sort(ranges.begin(), ranges.end(),
            [](const ByteRange& a, const ByteRange& b) { return a.data < b.data; });
  std::vector<ByteRange> joined;
  for (const ByteRange& range : ranges) {
    if (!joined.empty() && joined.back().data + joined.back().bytes == range.data) {
      joined.back().bytes += range.bytes;
    } else if (range.bytes > 0) {
      joined.push_back(range);
    }
  }
  Status read = rt::read_ahead(joined, threads, progress);
  if (read.ok()) return read;
  // Which file it was: the one that is no longer what was mapped.
  RT_RETURN_IF_ERROR(check_unchanged());
  return in(folder_, std::move(read).error());
}

Status Checkpoint::read_ahead(int threads, const ReadProgress& progress) const {
  std::vector<const CheckpointTensor*> all;
  for (const CheckpointTensor& tensor : tensors_) all.push_back(&tensor);
  return read_ahead(all, threads, progress);
}

}  // namespace rt
