// What objects that nvcc has compiled ask of the CUDA runtime, for kernels that this machine runs:
// their code is found in the fat binaries that come with them, as PTX for compute_90.
//
// What a launch on a GPU refuses is refused: more threads than the kernel was compiled for, and
// shared memory that was not asked for.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/cuda_emulation/block.h"
#include "tests/cuda_emulation/driver.h"
#include "tests/ptx/fat_binary.h"
#include "tests/ptx/kernel.h"

namespace ptx {
namespace {

constexpr std::uint32_t kPlainSharedBytes = 48 << 10;

struct Kernel {
  Module* module;
  std::string name;
};

struct Machine {
  std::vector<std::unique_ptr<Module>> modules;
  std::map<const void*, Kernel> kernels;  // by the host's function of that name
  Written written;
  std::uint64_t last_work = 0;  // of the driver's, that was a kernel
  std::map<std::pair<const Function*, unsigned>, Warps> warps;
};

Machine& machine() {
  static Machine* const one = new Machine();  // plugins are unloaded after everything else
  return *one;
}

// The warps of a kernel's blocks, kept for its next launch: their registers are megabytes.
Warps& warps_of(const Function& function, unsigned threads) {
  constexpr std::size_t kMostKernels = 64;
  auto& all = machine().warps;
  if (all.size() > kMostKernels) all.clear();
  Warps& warps = all[{&function, threads}];
  if (warps.empty()) warps = make_warps(function, threads);
  return warps;
}

cudaError_t refused(const Function& function, const cudaLaunchConfig_t& config,
                    const void* host_function) {
  const std::size_t bytes = function.shared_bytes + config.dynamicSmemBytes;
  const std::size_t allowed = cuda_emulation::allowed_shared(host_function);
  if (config.blockDim.x > function.most_threads || config.blockDim.x % kLanes != 0 ||
      bytes > SharedMemory::kMostBytes ||
      (bytes > kPlainSharedBytes && config.dynamicSmemBytes > allowed)) {
    std::fprintf(stderr, "ptx: refused: %u threads of %u, %zu bytes of shared memory, in %s\n",
                 config.blockDim.x, function.most_threads, bytes, function.name.c_str());
    return cudaErrorInvalidValue;
  }
  return cudaSuccess;
}

// The values that cudaLaunchKernelExC was given, side by side.
std::vector<unsigned char> take_parameters(const Function& function, void** arguments) {
  std::vector<unsigned char> all;  // new gives it 16 bytes' alignment, as PTX wants
  for (std::size_t i = 0; i < function.parameter_bytes.size(); ++i) {
    all.resize(function.parameter_offsets[i] + function.parameter_bytes[i]);
    std::memcpy(all.data() + function.parameter_offsets[i], arguments[i],
                function.parameter_bytes[i]);
  }
  return all;
}

// A kernel that may start early may still find the kernels in front of it running, back to the last
// work that waits for all before it: a copy, or a kernel that may not.
void forget_what_has_ended(const cudaLaunchConfig_t& next) {
  Machine& m = machine();
  const std::uint64_t work = cuda_emulation::driver().works;
  if (next.numAttrs == 0 || work != m.last_work + 1) m.written.forget();
  m.last_work = work;
}

cudaError_t launch(const cudaLaunchConfig_t& config, const void* host_function, void** arguments) {
  const auto kernel = machine().kernels.find(host_function);
  if (kernel == machine().kernels.end()) return cudaErrorInvalidDeviceFunction;
  const Function* function = kernel->second.module->entry(kernel->second.name);
  if (function == nullptr) return cudaErrorInvalidDeviceFunction;
  if (const cudaError_t error = refused(*function, config, host_function); error != cudaSuccess) {
    return error;
  }
  return cuda_emulation::launch_blocks(
      config, [module = kernel->second.module, function,
               parameters = take_parameters(*function, arguments)](const cudaLaunchConfig_t& of,
                                                                   uint3 index, bool first) {
        Machine& m = machine();
        if (first) forget_what_has_ended(of);
        const Launch as = {of.gridDim, of.blockDim.x,
                           static_cast<std::uint32_t>(of.dynamicSmemBytes), of.numAttrs > 0};
        run_block(*module, *function, as, index, parameters.data(),
                  warps_of(*function, of.blockDim.x), m.written);
      });
}

}  // namespace
}  // namespace ptx

extern "C" {

struct FatBinaryWrapper {
  int magic;
  int version;
  const unsigned char* data;
  void* file;
};

void** __cudaRegisterFatBinary(void* wrapper) {
  auto module = std::make_unique<ptx::Module>(
      ptx::text_in(static_cast<const FatBinaryWrapper*>(wrapper)->data));
  auto** const handle = reinterpret_cast<void**>(module.get());
  ptx::machine().modules.push_back(std::move(module));
  return handle;
}
void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void** handle) {
  auto& m = ptx::machine();
  auto* const module = reinterpret_cast<ptx::Module*>(handle);
  m.warps.clear();
  std::erase_if(m.kernels, [=](const auto& kernel) { return kernel.second.module == module; });
  std::erase_if(m.modules, [=](const auto& one) { return one.get() == module; });
}
void __cudaRegisterFunction(void** handle, const char* host_function, char*, const char* name, int,
                            void*, void*, void*, void*, int*) {
  ptx::machine().kernels[host_function] = {reinterpret_cast<ptx::Module*>(handle), name};
}
cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* config, const void* host_function,
                                void** arguments) {
  return ptx::launch(*config, host_function, arguments);
}

// What <<<>>> would call. No kernel of ours is launched so (kernels/cuda/launch.h), but every
// object names them.
cudaError_t __cudaGetKernel(void**, const void*) {
  ptx::die("a launch by <<<>>>");
}
cudaError_t __cudaLaunchKernel(void*, dim3, dim3, void**, std::size_t, cudaStream_t) {
  ptx::die("a launch by <<<>>>");
}
unsigned __cudaPopCallConfiguration(dim3*, dim3*, std::size_t*, void*) {
  ptx::die("a launch by <<<>>>");
}
}
