// The attributes that a node of a problem has.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "core/sdk/operator.h"
#include "tools/conformance/problem.h"

namespace rt::conformance {

// The problem's, then the schema's defaults. Both must outlive it: strings and lists are theirs.
class NodeAttrs {
 public:
  NodeAttrs(const rt_schema& schema, const Problem& problem) : attrs_(schema.attr_count) {
    for (std::uint32_t i = 0; i < schema.attr_count; ++i) {
      const rt_attr_spec& spec = *schema.attrs[i];
      rt_attr& attr = attrs_[i];
      attr = {sizeof(rt_attr), spec.type,      spec.name, spec.default_i,
              spec.default_f,  spec.default_s, nullptr,   0};
      for (const Attr& given : problem.attrs) {
        if (given.name == spec.name) set(attr, given.value);
      }
      pointers_.push_back(&attr);
    }
  }
  const rt_attr* const* data() const { return pointers_.data(); }
  std::uint32_t size() const { return static_cast<std::uint32_t>(pointers_.size()); }

 private:
  static void set(rt_attr& attr, const AttrValue& value) {
    if (const auto* i = std::get_if<std::int64_t>(&value)) {
      attr.i = *i;
      attr.f = static_cast<double>(*i);
    }
    if (const auto* f = std::get_if<double>(&value)) attr.f = *f;
    if (const auto* b = std::get_if<bool>(&value)) attr.i = *b ? 1 : 0;
    if (const auto* s = std::get_if<std::string>(&value)) attr.s = s->c_str();
    if (const auto* list = std::get_if<std::vector<double>>(&value)) {
      attr.floats = list->data();
      attr.count = list->size();
    }
  }
  std::vector<rt_attr> attrs_;
  std::vector<const rt_attr*> pointers_;
};

}  // namespace rt::conformance
