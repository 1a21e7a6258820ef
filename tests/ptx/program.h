// PTX as nvcc writes it, read into what a warp (warp.h) can run. The language is described in
// NVIDIA's "Parallel Thread Execution ISA", whose names are used here.
//
// Every operand is a register: numbers of the text are registers that hold them. A register has 32
// lanes, of 4 bytes up to b32 and of 8 bytes for b64; of a narrow value the low bits count.
// Predicates are masks, one bit a lane.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace ptx {

class Warp;
struct Instruction;
using Run = void (*)(Warp&, const Instruction&);

// A place in a warp's registers; a lane's value lies at offset + lane * stride.
struct Operand {
  std::uint32_t offset = 0;
  std::uint32_t stride = 4;
};

enum class Space : std::uint8_t { kGeneric, kGlobal, kShared, kLocal, kParam };

struct Instruction {
  Run run = nullptr;
  std::uint32_t guard = 0;  // predicate that must hold; 0: the one that always does
  bool guard_negated = false;
  Space space = Space::kGeneric;
  std::uint8_t count = 1;            // elements of a vector, or what an operation counts
  std::int32_t displacement = 0;     // of an address
  std::uint32_t target = 0;          // of a branch
  std::uint32_t predicate = 0;       // that is written
  std::uint32_t predicates[2] = {};  // that are read, or select
  Operand to[4];
  Operand from[10];
  std::uint32_t line = 0;  // of the module's text, for messages
};

struct Constant {
  Operand at;
  std::uint64_t value;
};

// %tid.x and so on, in the order of Warp's table.
enum class Special : std::uint8_t {
  kTidX,
  kTidY,
  kTidZ,
  kCtaidX,
  kCtaidY,
  kCtaidZ,
  kNctaidX,
  kNctaidY,
  kNctaidZ,
  kNtidX,
  kNtidY,
  kNtidZ,
  kLaneid
};

struct Function {
  std::string name;
  std::vector<Instruction> code;
  std::vector<Constant> constants;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> constant_predicates;  // register, mask
  std::vector<std::pair<Operand, Special>> specials;
  std::uint32_t register_bytes = 0;
  std::uint32_t predicates = 1;
  std::vector<std::uint32_t> parameter_offsets;
  std::vector<std::uint32_t> parameter_bytes;
  std::uint32_t most_threads = 1024;  // .maxntid
  std::uint32_t shared_bytes = 0;     // its own
  std::uint32_t local_bytes = 0;      // a lane's
};

// A variable that has a name: where it lies in its space.
struct Symbol {
  Space space;
  std::uint64_t address;
};
using Symbols = std::map<std::string, Symbol, std::less<>>;

// The text of one .cu file. Functions are read when they are first asked for.
class Module {
 public:
  explicit Module(std::string text);
  // NULL: not an entry of this module.
  const Function* entry(const std::string& name);
  std::string_view line(std::uint32_t number) const;

 private:
  void find_variables(Function& function, std::string_view body, Symbols& symbols);
  void read(Function& function, std::size_t behind_name);

  std::string text_;
  std::map<std::string, std::size_t> entries_;  // where each begins
  std::map<std::string, std::unique_ptr<Function>> read_;
  std::map<std::string, std::vector<unsigned char>> globals_;
};

// Ends the program with a sentence.
[[noreturn]] void die(const std::string& what);

}  // namespace ptx
