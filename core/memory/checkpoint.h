// A trained model on disk: a Hugging Face folder with config.json and its weights in one
// model.safetensors or in shards listed by model.safetensors.index.json, mapped and read in place.
//
// Invariant: every tensor is found by exactly one name, its bytes lie inside the mapping of one
// file, and what the index says of it is true. Bytes are little-endian as the file has them; a
// tensor may start at any byte (see `aligned`). Start reading at Checkpoint::open.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/json_fwd.h"
#include "core/base/result.h"
#include "core/memory/mapped_file.h"
#include "core/memory/model_folder.h"
#include "core/memory/safetensors.h"

namespace rt {

struct ModelConfig;

struct CheckpointTensor {
  std::string name;
  SafetensorsDtype dtype = SafetensorsDtype::kF32;
  std::vector<std::uint64_t> shape;
  const std::byte* data = nullptr;  // [bytes], in the mapping; valid while the checkpoint lives
  std::uint64_t bytes = 0;
  std::uint32_t file_index = 0;  // in Checkpoint::files()
  std::uint64_t offset = 0;      // of data in that file
  bool aligned = true;           // data's address is a multiple of the element's size; else copy
};

class Checkpoint {
 public:
  // Maps and checks everything; reads no weight. Nothing of the folder stays open.
  static Result<Checkpoint> open(const std::string& folder);

  // The tensor of exactly that name, or null.
  const CheckpointTensor* find(std::string_view name) const;
  std::span<const CheckpointTensor> tensors() const { return tensors_; }  // by name
  std::vector<std::string> names() const;

  const Json& config() const;
  const Json* generation_config() const;  // null where the folder has none

  const std::string& folder() const { return folder_; }
  std::span<const MappedFile> files() const { return files_; }
  std::uint64_t total_bytes() const;  // of all tensors

  // What is odd but no reason to refuse, one sentence each.
  std::span<const std::string> warnings() const { return warnings_; }

  // An environment error if any weight file was replaced, cut or written to since open().
  Status check_unchanged() const;

  // Reads the bytes of `tensors` (all: tensors of this checkpoint) into memory; see mapped_file.h.
  Status read_ahead(std::span<const CheckpointTensor* const> tensors, int threads,
                    const ReadProgress& progress) const;
  // The same for all tensors.
  Status read_ahead(int threads, const ReadProgress& progress) const;

 private:
  Status read_folder(const ModelFolder& folder);
  Status read_sharded(const ModelFolder& folder);
  Status add_file(const ModelFolder& folder, const std::string& name);
  Status index_names();
  Status check_index(const Json& index, const std::string& where);
  void name_guards();

  std::string folder_;
  std::shared_ptr<const ModelConfig> config_;
  std::vector<std::string> warnings_;
  std::vector<CheckpointTensor> tensors_;  // by name; the guards of files_ point to the names
  std::vector<MappedFile> files_;
};

}  // namespace rt
