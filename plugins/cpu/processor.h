// What the processor is: its name for people and its instruction sets for implementations.
#pragma once

#include <string>
#include <string_view>

namespace rt::cpu {

// "AMD EPYC 7763 64-Core Processor", or the architecture where the kernel gives no name.
std::string processor_name();

// "avx,avx2,fma,f16c,...": what the processor has (CPUID) and the operating system saves (XCR0).
// Without the second a register would lose its content at a context switch, or the instruction
// trap: some hypervisors and `noxsave` kernels leave AVX-512 in CPUID and take it out of XCR0.
// One word is no instruction set but a rate: fast_bf16, where vdpbf16ps does twice the products of
// f32's multiply-adds. That is AMD's (Zen 4: 469 Gflop/s on two cores, 235 in f32); an Intel
// Emerald Rapids does half (86 on a core, 170 in f32). CPUID has no bit for it, so the vendor says.
std::string instruction_sets();

// Those of instruction_sets() that stand in `wanted`: "avx2,fma", "all", or "none" for the
// baseline. False, and `why` a sentence, where it names one that is not there.
bool limit_instruction_sets(std::string_view wanted, std::string* sets, std::string* why);

// Asks the kernel for the AMX tile registers of this process, if instruction_sets() has them.
void request_amx();

}  // namespace rt::cpu
