// `state:`: the KV cache of each layer, before any node uses it.
#include "core/base/text.h"
#include "core/graph/expansion.h"

namespace rt {
namespace {

constexpr std::int64_t kMostHeads = 4096;
constexpr std::int64_t kWidestHead = 4096;
constexpr std::int64_t kWidestWindow = 2147483647;

Result<KvLayer> make_layer(const StateDeclaration& declaration, const Scope& scope) {
  KvLayer layer;
  RT_TRY(const std::int64_t heads, declaration.heads.evaluate_int(scope, 1, kMostHeads));
  RT_TRY(const std::int64_t kv_heads, declaration.kv_heads.evaluate_int(scope, 1, kMostHeads));
  RT_TRY(const std::int64_t width, declaration.head_width.evaluate_int(scope, 1, kWidestHead));
  if (heads % kv_heads != 0) {
    return bad_input_at(declaration.where, "state " + quote(declaration.name) + ": " +
                                               std::to_string(heads) +
                                               " query heads are no multiple of " +
                                               std::to_string(kv_heads) + " KV heads");
  }
  layer.query_heads = static_cast<std::uint32_t>(heads);
  layer.kv_heads = static_cast<std::uint32_t>(kv_heads);
  layer.head_width = static_cast<std::uint32_t>(width);
  if (declaration.window.has_value()) {
    RT_TRY(const std::int64_t window, declaration.window->evaluate_int(scope, 0, kWidestWindow));
    layer.window = static_cast<std::uint32_t>(window);
  }
  return layer;
}

}  // namespace

Status add_state(Expansion& expansion) {
  std::vector<KvLayer>& layers = expansion.graph.kv_layers;
  for (const StateDeclaration& declaration : expansion.document.state) {
    const auto room = kMaxLayers - static_cast<std::int64_t>(layers.size());
    RT_TRY(const std::int64_t count, declaration.count.evaluate_int(expansion.scope, 1, room));
    for (std::int64_t i = 0; i < count; ++i) {
      Scope scope(&expansion.scope);
      if (!declaration.index.empty() && !scope.define(declaration.index, Value(i))) {
        return bad_input_at(declaration.where, "the index " + quote(declaration.index) +
                                                   " has the name of another value");
      }
      RT_TRY(KvLayer layer, make_layer(declaration, scope));
      layer.name = declaration.name + "." + std::to_string(i);
      layer.index = static_cast<std::uint32_t>(layers.size());
      expansion.kv_layers.emplace(layer.name, layer.index);
      layers.push_back(std::move(layer));
    }
  }
  return {};
}

}  // namespace rt
