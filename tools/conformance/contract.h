// What an implementation of an operator is held to: the schema, and the reference in double
// precision. Of a fused operator both follow from its parts (fused.h).
//
// Contracts are kept for the whole process, as the plugins are that they lie in: infer of a schema
// is a plain function and finds its fused operator by name.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/sdk/plugin.h"

namespace rt::conformance {

struct Contract {
  const rt_schema* schema = nullptr;
  const rt_implementation* reference = nullptr;  // NULL: its plugin has none
  bool fused = false;
};

// Takes the contracts of `plugin`, which is never unloaded, and the device "cpu" if it has that. An
// operator's reference is the implementation of tier 0 for a CPU in the plugin of its schema.
void learn(const rt_plugin& plugin);

// The contract of an operator, version 0 being the newest, or NULL; `why` then says what is wrong
// with a fused operator, and is left alone where nothing is known. Lives as long as the process.
const Contract* find_contract(std::string_view op, std::uint32_t version = 0,
                              std::string* why = nullptr);

// Parts of a contract that is known.
const rt_schema* find_schema(std::string_view op);
const rt_implementation* find_reference(std::string_view op);

// The device "cpu" that was learnt, or NULL, and what it says of this machine.
const rt_device* cpu_api();
const rt_device_desc& cpu_device();

// True if every word of the comma list `isa` stands in the list `available`.
bool has_words(std::string_view isa, std::string_view available);
// True if implementations for such a CPU run here.
bool machine_has(std::string_view isa);

}  // namespace rt::conformance
