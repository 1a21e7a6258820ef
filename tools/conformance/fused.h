// The contract of a fused operator: the schema that follows from its pattern, shapes inferred part
// by part, and the reference that follows from it, the parts' references one after the other.
#pragma once

#include "core/base/result.h"
#include "core/graph/expand.h"
#include "tools/conformance/contract.h"

namespace rt::conformance {

// `schemas` holds those of the parts. Refuses a pattern that does not fit them. What the contract
// points to lives as long as the process.
Result<Contract> fused_contract(const rt_fusion& fusion, const SchemaSet& schemas);

}  // namespace rt::conformance
