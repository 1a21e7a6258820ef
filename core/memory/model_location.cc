#include "core/memory/model_location.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "core/base/file.h"
#include "core/base/text.h"

namespace rt {
namespace {

namespace fs = std::filesystem;

// A place that was looked at, and why it did not serve.
struct Place {
  std::string label;
  std::string reason;
};

bool is_there(const fs::path& path) {
  std::error_code code;
  return fs::exists(path, code);
}

bool is_folder(const fs::path& path) {
  std::error_code code;
  return fs::is_directory(path, code);
}

// A part of a path that comes from a graph or a refs file: letters, digits, '.', '_' and '-'.
bool is_plain(std::string_view part) {
  const auto ordinary = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  };
  return !part.empty() && part.size() <= 128 && part != "." && part != ".." &&
         std::all_of(part.begin(), part.end(), ordinary);
}

// "" if the folder holds a checkpoint, else what it lacks.
std::string lacks(const fs::path& folder) {
  if (!is_folder(folder)) return "no such folder";
  if (!is_there(folder / "config.json")) return "no config.json in it";
  if (!is_there(folder / "model.safetensors") &&
      !is_there(folder / "model.safetensors.index.json")) {
    return "no safetensors weights in it";
  }
  return "";
}

fs::path hub_cache(const ModelEnvironment& environment) {
  if (!environment.hf_hub_cache.empty()) return environment.hf_hub_cache;
  if (!environment.huggingface_hub_cache.empty()) return environment.huggingface_hub_cache;
  if (!environment.hf_home.empty()) return fs::path(environment.hf_home) / "hub";
  if (!environment.xdg_cache_home.empty()) {
    return fs::path(environment.xdg_cache_home) / "huggingface" / "hub";
  }
  if (environment.home.empty()) return {};
  return fs::path(environment.home) / ".cache" / "huggingface" / "hub";
}

// snapshots/<the revision in refs/main>, or an empty path.
fs::path main_snapshot(const fs::path& model) {
  const Result<std::string> text = read_file((model / "refs" / "main").string(), 4096);
  if (!text.ok()) return {};
  std::string_view revision = text.value();
  revision = revision.substr(0, revision.find_last_not_of(" \r\n\t") + 1);
  if (!is_plain(revision)) return {};
  return model / "snapshots" / revision;
}

// The newest complete snapshot, or an empty path.
fs::path newest_snapshot(const fs::path& model) {
  std::error_code code;
  fs::path newest;
  fs::file_time_type newest_time{};
  fs::directory_iterator at(model / "snapshots", code);
  for (; !code && at != fs::directory_iterator(); at.increment(code)) {
    std::error_code time_code;
    const fs::file_time_type time = fs::last_write_time(at->path(), time_code);
    if (time_code || !lacks(at->path()).empty()) continue;
    if (newest.empty() || time > newest_time) {
      newest = at->path();
      newest_time = time;
    }
  }
  return newest;
}

// Looks at one place; remembers it where it does not serve.
bool serves(const fs::path& folder, const std::string& label, std::vector<Place>* looked) {
  std::string reason = lacks(folder);
  if (reason.empty()) return true;
  looked->push_back({label, std::move(reason)});
  return false;
}

fs::path find_in_cache(const ModelQuery& query, std::vector<Place>* looked) {
  const fs::path cache = hub_cache(query.environment);
  if (cache.empty()) {
    looked->push_back({"the Hugging Face cache", "HF_HOME and HOME are not set"});
    return {};
  }
  std::string folder = "models--" + query.source;
  folder.replace(folder.find('/'), 1, "--");
  const fs::path model = cache / folder;
  if (!is_folder(model)) {
    looked->push_back({model.string(), "no such folder"});
    return {};
  }
  const fs::path main = main_snapshot(model);
  if (!main.empty() && lacks(main).empty()) return main;
  const fs::path newest = newest_snapshot(model);
  if (!newest.empty()) return newest;
  if (main.empty()) {
    looked->push_back({(model / "snapshots").string(), "no complete snapshot in it"});
  } else {
    looked->push_back({main.string(), lacks(main) + "; was the download finished?"});
  }
  return {};
}

std::string download_advice(const ModelQuery& query) {
  if (query.source.empty()) return "\n  give the folder with --weights DIR";
  const std::string& models = query.environment.runtime_models;
  const fs::path target = fs::path(models.empty() ? "models" : models) / query.name;
  const std::string path = target.string();
  const bool bare = path.find_first_not_of(
                        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                        "0123456789._-+/") == std::string::npos;
  return "\n  to download it:  hf download " + query.source + " --local-dir " +
         (bare ? path : "\"" + path + "\"") + "\n  then give it with --weights" +
         (models.empty() ? " " + path : " or leave it to be found there");
}

Error not_found(const ModelQuery& query, const std::vector<Place>& looked) {
  std::string message = "no weights for " + quote(query.name);
  if (!query.source.empty()) message += " (" + query.source + ")";
  message += " on this machine; looked in:";
  for (const Place& place : looked) message += "\n  " + place.label + ": " + place.reason;
  return bad_input(message + download_advice(query));
}

Status check_query(const ModelQuery& query) {
  if (!is_plain(query.name)) {
    return bad_input("the graph's name: expected letters, digits, '.', '_' and '-', found " +
                     quote(query.name));
  }
  if (query.source.empty()) return {};
  const std::size_t slash = query.source.find('/');
  const std::string_view source = query.source;
  if (slash == std::string::npos || !is_plain(source.substr(0, slash)) ||
      !is_plain(source.substr(slash + 1))) {
    return bad_input("the graph's source: expected 'organization/model', found " +
                     quote(query.source));
  }
  return {};
}

}  // namespace

ModelEnvironment ModelEnvironment::of_process() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value == nullptr ? "" : value);
  };
  return {variable("RUNTIME_MODELS"), variable("HF_HUB_CACHE"),   variable("HUGGINGFACE_HUB_CACHE"),
          variable("HF_HOME"),        variable("XDG_CACHE_HOME"), variable("HOME")};
}

Result<std::string> locate_model(const ModelQuery& query) {
  RT_RETURN_IF_ERROR(check_query(query));
  std::vector<Place> looked;
  if (query.weights) {
    if (is_folder(*query.weights)) return *query.weights;
    if (is_there(*query.weights)) {
      const fs::path folder = fs::path(*query.weights).parent_path();
      return bad_input("--weights: expected a folder, found the file " + quote(*query.weights) +
                       "; give the folder it is in: --weights " +
                       (folder.empty() ? "." : folder.string()));
    }
    looked.push_back({*query.weights + " (--weights)", "no such folder"});
    return not_found(query, looked);
  }
  const fs::path models = query.environment.runtime_models;
  if (models.empty()) {
    looked.push_back({"$RUNTIME_MODELS/" + query.name, "RUNTIME_MODELS is not set"});
  } else {
    const fs::path folder = models / query.name;
    if (serves(folder, folder.string() + " ($RUNTIME_MODELS)", &looked)) return folder.string();
  }
  if (!query.source.empty()) {
    const fs::path found = find_in_cache(query, &looked);
    if (!found.empty()) return found.string();
  }
  return not_found(query, looked);
}

}  // namespace rt
