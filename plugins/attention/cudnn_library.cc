#include "plugins/attention/cudnn_library.h"

#include "plugins/nvidia_library.h"

namespace rt::cuda::cudnn {
namespace {

// 9.10.0 and 9.10.1 compute attention wrong: cudnn-frontend refuses them too.
constexpr std::size_t kOldestVersion = 91002;

template <class Function>
void find(void* opened, const char* name, Function& function, std::string& missing) {
  function = reinterpret_cast<Function>(library_function(opened, name));
  if (function == nullptr) missing = std::string("libcudnn has no function ") + name;
}

Library open() {
  Library l{};
  void* opened = open_nvidia_library("libcudnn.so.9", {"cudnn/lib", "cu13/lib"});
  if (opened == nullptr) {
    l.missing =
        "no libcudnn.so.9 in the library path, $CUDA_HOME, $CUDA_PATH, /usr/local/cuda or Python's "
        "nvidia wheels";
    return l;
  }
  find(opened, "cudnnGetVersion", l.version, l.missing);
  find(opened, "cudnnGetLastErrorString", l.last_error, l.missing);
  find(opened, "cudnnCreate", l.create, l.missing);
  find(opened, "cudnnDestroy", l.destroy, l.missing);
  find(opened, "cudnnSetStream", l.set_stream, l.missing);
  find(opened, "cudnnBackendCreateDescriptor", l.create_descriptor, l.missing);
  find(opened, "cudnnBackendDestroyDescriptor", l.destroy_descriptor, l.missing);
  find(opened, "cudnnBackendSetAttribute", l.set, l.missing);
  find(opened, "cudnnBackendGetAttribute", l.get, l.missing);
  find(opened, "cudnnBackendFinalize", l.finalize, l.missing);
  find(opened, "cudnnBackendExecute", l.execute, l.missing);
  if (l.missing.empty() && l.version() < kOldestVersion) {
    l.missing =
        sdk::format("expected version %zu or later, found %zu", kOldestVersion, l.version());
  }
  return l;
}

}  // namespace

const Library& library() {
  static const Library one = open();
  return one;
}

void expect_library() {
  if (!library().missing.empty()) throw sdk::Refusal("cuDNN: " + library().missing);
}

// Codes of cudnnStatus_t are no cudaError_t: 5000 to 5999 (execution failed) are the device's.
void check(int status, const char* what) {
  constexpr int kInvalidValue = 1;  // cudaErrorInvalidValue
  constexpr int kLaunchFailure = 719;
  if (status == 0) return;
  char text[1024] = "";
  library().last_error(text, sizeof text);
  throw LaunchError(status / 1000 == 5 ? kLaunchFailure : kInvalidValue,
                    sdk::format("cuDNN: %s: status %d %.300s", what, status, text));
}

Descriptor::Descriptor(Kind kind) {
  check(library().create_descriptor(static_cast<int>(kind), &raw_), "descriptor");
}

Descriptor::~Descriptor() {
  if (raw_ != nullptr) (void)library().destroy_descriptor(raw_);
}

Descriptor& Descriptor::set(Attribute attribute, Type type, std::int64_t count,
                            const void* values) {
  const int status = library().set(raw_, attribute, static_cast<int>(type), count, values);
  check(status, status == 0 ? "" : sdk::format("attribute %d", attribute).c_str());
  return *this;
}

std::int64_t Descriptor::integer(Attribute attribute) const {
  std::int64_t value = 0;
  std::int64_t count = 0;
  check(library().get(raw_, attribute, static_cast<int>(Type::kInt64), 1, &count, &value),
        "attribute");
  return value;
}

}  // namespace rt::cuda::cudnn
