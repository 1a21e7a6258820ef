// The operators a graph may name.
#include "core/graph/expand.h"

namespace rt {

bool SchemaSet::add(const rt_schema* schema) {
  return schemas_[schema->op].emplace(schema->version, schema).second;
}

const rt_schema* SchemaSet::find(std::string_view op, std::uint32_t version) const {
  const auto versions = schemas_.find(op);
  if (versions == schemas_.end()) return nullptr;
  const auto found = versions->second.find(version);
  return found == versions->second.end() ? nullptr : found->second;
}

void SchemaSet::note(const std::string& op, const std::string& parts) {
  noted_.emplace(op, parts);
}

std::vector<std::string> SchemaSet::ops() const {
  std::vector<std::string> names;
  for (const auto& [name, versions] : schemas_) names.push_back(name);
  return names;
}

std::vector<std::string> SchemaSet::known() const {
  std::vector<std::string> names = ops();
  for (const auto& [name, parts] : noted_) {
    if (!schemas_.contains(name)) names.push_back(name);
  }
  return names;
}

std::string SchemaSet::parts(std::string_view op) const {
  const auto found = noted_.find(op);
  return found == noted_.end() ? "" : found->second;
}

std::vector<std::uint32_t> SchemaSet::versions(std::string_view op) const {
  std::vector<std::uint32_t> out;
  const auto found = schemas_.find(op);
  if (found == schemas_.end()) return out;
  for (const auto& [version, schema] : found->second) out.push_back(version);
  return out;
}

}  // namespace rt
