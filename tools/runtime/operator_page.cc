#include "tools/runtime/operator_page.h"

#include <algorithm>
#include <memory>
#include <set>
#include <string_view>
#include <utility>

#include "core/base/attribute_spec.h"
#include "core/base/json.h"
#include "core/base/text.h"
#include "core/graph/fused_operator.h"
#include "core/plugin/registry.h"
#include "core/plugin/selection.h"
#include "core/sdk/sdk.hpp"
#include "tools/conformance/cases.h"
#include "tools/runtime/deployment.h"
#include "tools/runtime/output.h"
#include "tools/runtime/text_table.h"

namespace rt {
namespace {

// What the letters in shapes of ours stand for.
constexpr std::pair<char, const char*> kLetters[] = {{'T', "new tokens of a step"},
                                                     {'R', "rows of a step that get logits"},
                                                     {'*', "T or R"},
                                                     {'D', "model width"},
                                                     {'H', "query heads"},
                                                     {'G', "kv heads"},
                                                     {'E', "head width"},
                                                     {'F', "feed-forward width"},
                                                     {'V', "vocabulary"},
                                                     {'K', "inputs of a product"},
                                                     {'N', "outputs of a product"}};

// An operator with what its plugin says of it. Pointers live as long as the process.
struct OperatorPage {
  OperatorId id;
  const PluginEntry* definer = nullptr;
  const rt_schema* schema = nullptr;             // of a fusion: that which follows from its parts
  const rt_fusion* fusion = nullptr;             // NULL for an operator of its own
  std::shared_ptr<const FusedOperator> fused{};  // what `schema` of a fusion belongs to
  std::string why_no_schema{};                   // of a fusion whose parts do not fit

  const char* summary() const { return fusion != nullptr ? fusion->summary : schema->summary; }
};

std::string or_nothing(const char* text) {
  return text == nullptr ? "" : text;
}

// The schemas of a fusion's parts, from whatever plugins have them.
Result<SchemaSet> schemas_of_parts(Registry& registry, const PluginEntry& entry,
                                   const OperatorId& id) {
  std::vector<std::string> ops;
  for (const ManifestFusion& fusion : entry.manifest->fusions) {
    if (fusion.op != id) continue;
    for (const OperatorId& part : fusion.parts) ops.push_back(part.op);
  }
  return registry.schemas(ops);
}

void add_fused_schema(Registry& registry, OperatorPage& page) {
  const auto schemas = schemas_of_parts(registry, *page.definer, page.id);
  auto made = schemas.ok() ? FusedOperator::make(*page.fusion, *schemas)
                           : Result<std::shared_ptr<const FusedOperator>>(schemas.error());
  if (!made.ok()) {
    page.why_no_schema = made.error().message;
    return;
  }
  page.fused = std::move(made).value();
  page.schema = &page.fused->schema();
}

Result<OperatorPage> page_of(Registry& registry, const OperatorId& id) {
  const std::size_t at = *registry.definer(id.op, id.version);
  RT_TRY(const Library* library, registry.open_plugin(at));
  OperatorPage page{id, &registry.plugins()[at]};
  const rt_plugin& plugin = library->descriptor();
  for (std::uint32_t i = 0; i < plugin.schema_count; ++i) {
    const rt_schema* schema = plugin.schemas[i];
    if (schema->op == id.op && schema->version == id.version) page.schema = schema;
  }
  for (std::uint32_t i = 0; RT_HAS(&plugin, fusions) && i < plugin.fusion_count; ++i) {
    const rt_fusion* fusion = plugin.fusions[i];
    if (fusion->op == id.op && fusion->version == id.version) page.fusion = fusion;
  }
  if (page.fusion != nullptr) add_fused_schema(registry, page);
  return page;
}

// Everything that usable plugins define, sorted.
std::set<OperatorId> defined_operators(const Registry& registry) {
  std::set<OperatorId> ids;
  for (const PluginEntry& entry : registry.plugins()) {
    if (!entry.usable()) continue;
    ids.insert(entry.manifest->schemas.begin(), entry.manifest->schemas.end());
    for (const ManifestFusion& fusion : entry.manifest->fusions) ids.insert(fusion.op);
  }
  return ids;
}

// "linear" is the newest, "linear@1" that one.
Result<OperatorId> find_operator(const Registry& registry, const std::string& word) {
  OperatorId wanted{word, 0};
  if (word.find('@') != std::string::npos && !parse_operator(word, &wanted)) {
    return bad_input("plugins show: expected an operator (linear, linear@1), found " + quote(word));
  }
  OperatorId found;
  std::vector<std::string> names;
  for (const OperatorId& id : defined_operators(registry)) {
    names.push_back(wanted.version == 0 ? id.op : id.text());
    const bool fits = wanted.version == 0 || id.version == wanted.version;
    if (id.op == wanted.op && fits && id.version > found.version) found = id;
  }
  if (found.version > 0) return found;
  return bad_input("no plugin defines operator " + quote(word) +
                   " (`runtime plugins show` lists them)" + did_you_mean(word, names));
}

std::vector<std::string> implementers(const Registry& registry, const OperatorId& id) {
  std::vector<std::string> names;
  for (const Candidate& candidate : registry.candidates(id.op)) {
    const std::string name = registry.plugins()[candidate.plugin].name();
    const bool fits = candidate.manifest->op == id && registry.plugins()[candidate.plugin].usable();
    if (fits && (names.empty() || names.back() != name)) names.push_back(name);
  }
  return names;
}

std::string first_line(std::string_view text) {
  return std::string(text.substr(0, text.find('\n')));
}

Result<ExitCode> list_operators(Registry& registry, bool as_json) {
  Json json = Json::array();
  std::string text;
  std::size_t width = 0;
  const std::set<OperatorId> ids = defined_operators(registry);
  for (const OperatorId& id : ids) width = std::max(width, id.text().size() + 2);
  for (const OperatorId& id : ids) {
    const Result<OperatorPage> page = page_of(registry, id);
    if (!page.ok()) continue;  // its plugin has just been refused, and `plugins list` says why
    const std::vector<std::string> by = implementers(registry, id);
    json.push_back({{"op", id.op},
                    {"version", id.version},
                    {"fusion", page->fusion != nullptr},
                    {"summary", first_line(page->summary())},
                    {"defined_by", page->definer->name()},
                    {"implemented_by", by}});
    const std::string name = id.text();
    text += name + std::string(width - name.size(), ' ') + first_line(page->summary()) + "\n" +
            std::string(width, ' ') +
            (page->fusion != nullptr ? "a fusion, declared by " : "declared by ") +
            page->definer->name() + "; implemented by " + (by.empty() ? "nobody" : join(by, ", ")) +
            "\n";
  }
  RT_RETURN_IF_ERROR(as_json ? write_json(json) : write_out(text));
  return 0;
}

std::vector<std::string> dtype_names(std::uint32_t mask) {
  std::vector<std::string> names;
  for (std::uint32_t dtype = 0; dtype < 32; ++dtype) {
    if ((mask >> dtype & 1) != 0) names.emplace_back(sdk::dtype_name(dtype));
  }
  return names;
}

// Columns, all to the left.
std::string columns_text(const std::vector<TableRow>& rows) {
  std::vector<std::size_t> widths;
  for (const TableRow& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], row[c].size());
  }
  std::string text;
  for (const TableRow& row : rows) {
    std::string line = " ";
    for (std::size_t c = 0; c < row.size(); ++c) {
      line += " " + row[c] + std::string(widths[c] - row[c].size() + 1, ' ');
    }
    while (line.ends_with(' ')) line.pop_back();
    text += line + "\n";
  }
  return text;
}

std::string ports_text(const char* title, const rt_port* const* ports, std::uint32_t count) {
  std::vector<TableRow> rows;
  for (std::uint32_t i = 0; i < count; ++i) {
    const rt_port& port = *ports[i];
    rows.push_back({or_nothing(port.name), port.kind == RT_PORT_WEIGHT ? "weight" : "value",
                    or_nothing(port.shape), join(dtype_names(port.dtypes), " ")});
  }
  return rows.empty() ? "" : std::string(title) + "\n" + columns_text(rows);
}

std::string default_text(const rt_attr_spec& spec) {
  if (spec.required != 0) return "required";
  const AttributeValue value = default_of(spec);
  if (const auto* text = std::get_if<std::string>(&value)) return "default " + quote(*text);
  if (spec.type == RT_ATTR_FLOATS) return "default []";
  if (const auto* number = std::get_if<double>(&value)) return sdk::format("default %.9g", *number);
  return "default " + std::visit([](const auto& x) { return Json(x).dump(); }, value);
}

std::string attributes_text(const rt_schema& schema) {
  std::vector<TableRow> rows;
  for (std::uint32_t i = 0; i < schema.attr_count; ++i) {
    const rt_attr_spec& spec = *schema.attrs[i];
    rows.push_back({spec.name, wanted(spec), default_text(spec), or_nothing(spec.doc)});
  }
  return rows.empty() ? "" : "attributes\n" + columns_text(rows);
}

// The letters of our own shapes that stand in this schema.
std::string letters_text(const OperatorPage& page) {
  if (page.id.op.find('.') != std::string::npos) return "";
  std::string shapes;
  const rt_schema& schema = *page.schema;
  for (std::uint32_t i = 0; i < schema.input_count; ++i) shapes += schema.inputs[i]->shape;
  for (std::uint32_t i = 0; i < schema.output_count; ++i) shapes += schema.outputs[i]->shape;
  std::vector<std::string> said;
  for (const auto& [letter, meaning] : kLetters) {
    // "H*E" is a product, "[*, D]" a dimension.
    const std::string_view sought = letter == '*' ? "[*" : std::string_view(&letter, 1);
    if (shapes.find(sought) != std::string::npos) {
      said.push_back(std::string(1, letter) + " " + meaning);
    }
  }
  return said.empty() ? "" : "letters: " + join(said, ", ") + "\n";
}

std::string tolerance_text(const rt_schema& schema) {
  if (schema.tolerance_absolute == 0 && schema.tolerance_relative == 0) {
    return "tolerance: none, results are equal\n";
  }
  return sdk::format("tolerance: %.3g + %.3g of the reference's value, in f32\n",
                     schema.tolerance_absolute, schema.tolerance_relative);
}

// The reference's full name, "" if there is none.
std::string reference_of(Registry& registry, const OperatorPage& page) {
  for (const Candidate& candidate : registry.candidates(page.id.op)) {
    const PluginEntry& entry = registry.plugins()[candidate.plugin];
    if (&entry != page.definer || candidate.manifest->op != page.id) continue;
    const Implementation item = registry.peek(candidate);
    const bool cpu = candidate.manifest->device_kind == "cpu";
    if (cpu && item.c != nullptr && item.c->tier == 0) return candidate.full_name;
  }
  return "";
}

std::string reference_text(Registry& registry, const OperatorPage& page) {
  const std::string name = page.fusion != nullptr ? "those of its parts, one after the other"
                                                  : reference_of(registry, page);
  const std::size_t cases = conformance::cases(page.id.op).size();
  return "reference: " + (name.empty() ? "none" : name) + "\n" +
         "cases of `plugins check`: " + (cases == 0 ? "none" : std::to_string(cases)) + "\n";
}

std::vector<std::string> classes_of(const rt_implementation& item) {
  std::vector<std::string> names;
  if ((item.step_classes & RT_STEP_DECODE) != 0) names.emplace_back("decode");
  if ((item.step_classes & RT_STEP_PREFILL) != 0) names.emplace_back("prefill");
  return names;
}

std::vector<std::string> traits_of(const rt_implementation& item) {
  std::vector<std::string> names;
  if ((item.traits & RT_TRAIT_EXACT) != 0) names.emplace_back("exact");
  if ((item.traits & RT_TRAIT_BITS_OF_BATCH) != 0) names.emplace_back("bits of the batch");
  return names;
}

TableRow implementation_row(const Candidate& candidate, const Result<Implementation>& item) {
  TableRow row{candidate.full_name, candidate.manifest->device_kind};
  row.push_back(candidate.manifest->isa.empty() ? "any" : candidate.manifest->isa);
  if (!item.ok()) {
    row.push_back("refused: " + item.error().message);
    return row;
  }
  row.push_back("tier " + std::to_string(item->c->tier));
  row.push_back(join(classes_of(*item->c), ", "));
  row.push_back(join(traits_of(*item->c), ", "));
  return row;
}

Json implementation_json(const Candidate& candidate, const Result<Implementation>& item) {
  Json json = {{"name", candidate.full_name},
               {"device", candidate.manifest->device_kind},
               {"isa", candidate.manifest->isa}};
  json["reason"] = item.ok() ? "" : item.error().message;
  if (!item.ok()) return json;
  json["tier"] = item->c->tier;
  json["step_classes"] = classes_of(*item->c);
  json["traits"] = traits_of(*item->c);
  return json;
}

std::string implementations_text(Registry& registry, const OperatorId& id) {
  std::vector<TableRow> rows;
  for (const Candidate& candidate : registry.candidates(id.op)) {
    if (candidate.manifest->op != id) continue;
    rows.push_back(implementation_row(candidate, registry.open(candidate)));
  }
  return rows.empty() ? "implementations: none\n" : "implementations\n" + columns_text(rows);
}

std::string indented(const std::string& text) {
  std::string out;
  std::string_view rest = text;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    if (end > 0) out += "  " + std::string(rest.substr(0, end)) + "\n";
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return out;
}

std::string schema_text(Registry& registry, const OperatorPage& page) {
  const rt_schema& schema = *page.schema;
  return ports_text("inputs", schema.inputs, schema.input_count) +
         ports_text("outputs", schema.outputs, schema.output_count) + attributes_text(schema) +
         letters_text(page) +
         (schema.has_kv_state != 0 ? "KV cache: reads and appends to that of its layer\n" : "") +
         tolerance_text(schema) + reference_text(registry, page);
}

std::string page_text(Registry& registry, const OperatorPage& page) {
  std::string text = page.id.text() +
                     (page.fusion != nullptr ? ", a fusion, declared by " : ", declared by ") +
                     page.definer->name() + " " + page.definer->manifest->version + "\n" +
                     indented(page.summary());
  if (page.fusion != nullptr) text += "parts\n" + indented(page.fusion->pattern);
  text += page.schema == nullptr ? "its parts do not fit: " + page.why_no_schema + "\n"
                                 : schema_text(registry, page);
  return text + implementations_text(registry, page.id);
}

Json ports_json(const rt_port* const* ports, std::uint32_t count) {
  Json list = Json::array();
  for (std::uint32_t i = 0; i < count; ++i) {
    list.push_back({{"name", or_nothing(ports[i]->name)},
                    {"kind", ports[i]->kind == RT_PORT_WEIGHT ? "weight" : "value"},
                    {"dtypes", dtype_names(ports[i]->dtypes)},
                    {"rank", ports[i]->rank},
                    {"shape", or_nothing(ports[i]->shape)}});
  }
  return list;
}

Json attributes_json(const rt_schema& schema) {
  Json list = Json::array();
  for (std::uint32_t i = 0; i < schema.attr_count; ++i) {
    const rt_attr_spec& spec = *schema.attrs[i];
    Json json = {{"name", spec.name}, {"expected", wanted(spec)}, {"doc", or_nothing(spec.doc)}};
    json["required"] = spec.required != 0;
    json["default"] = spec.required != 0
                          ? Json(nullptr)
                          : std::visit([](const auto& x) { return Json(x); }, default_of(spec));
    list.push_back(std::move(json));
  }
  return list;
}

Json page_json(Registry& registry, const OperatorPage& page) {
  Json json = {{"op", page.id.op},
               {"version", page.id.version},
               {"summary", page.summary()},
               {"defined_by", page.definer->name()},
               {"reason", page.why_no_schema}};
  json["pattern"] = page.fusion != nullptr ? Json(page.fusion->pattern) : Json(nullptr);
  if (const rt_schema* schema = page.schema; schema != nullptr) {
    json["inputs"] = ports_json(schema->inputs, schema->input_count);
    json["outputs"] = ports_json(schema->outputs, schema->output_count);
    json["attributes"] = attributes_json(*schema);
    json["kv_state"] = schema->has_kv_state != 0;
    json["tolerance_absolute"] = schema->tolerance_absolute;
    json["tolerance_relative"] = schema->tolerance_relative;
    json["reference"] = reference_of(registry, page);
    json["cases"] = conformance::cases(page.id.op).size();
  }
  json["implementations"] = Json::array();
  for (const Candidate& candidate : registry.candidates(page.id.op)) {
    if (candidate.manifest->op != page.id) continue;
    json["implementations"].push_back(implementation_json(candidate, registry.open(candidate)));
  }
  return json;
}

}  // namespace

Result<ExitCode> show_operators(const std::vector<std::string>& words, const Settings& settings) {
  if (words.size() > 1) {
    return bad_input("plugins show: expected one operator, found " + quote(join(words, " ")));
  }
  RT_TRY(const std::unique_ptr<Registry> registry, scan_plugins(settings));
  RT_RETURN_IF_ERROR(registry->ready());
  const bool as_json = settings.flag("json");
  if (words.empty()) return list_operators(*registry, as_json);
  RT_TRY(const OperatorId id, find_operator(*registry, words[0]));
  RT_TRY(const OperatorPage page, page_of(*registry, id));
  RT_RETURN_IF_ERROR(as_json ? write_json(page_json(*registry, page))
                             : write_out(page_text(*registry, page)));
  return 0;
}

}  // namespace rt
