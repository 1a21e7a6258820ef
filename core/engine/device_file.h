// A device described in a file (YAML, or JSON, which is YAML too), so that a plan can be made for a
// machine that is not this one. The kind names the device plugin whose implementations would run
// there; selection asks the description, never the machine.
//
//   kind: cpu
//   name: a 16-core desktop
//   isa: [avx2, fma, f16c]
//   threads: 16
//   memory: 32GiB
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "core/base/result.h"
#include "core/sdk/device.h"

namespace rt {

class DescribedDevice {
 public:
  static Result<std::shared_ptr<const DescribedDevice>> read(const std::string& path);

  // The same machine with another number of threads (--threads).
  std::shared_ptr<const DescribedDevice> with_threads(std::uint32_t threads) const;

  // The strings are this object's.
  rt_device_desc view() const;
  const std::string& kind() const { return kind_; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  std::string kind_;
  std::string name_;
  std::string isa_;
  rt_device_desc desc_{};
};

}  // namespace rt
