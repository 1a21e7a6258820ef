// What a device takes for what the engine asks of it: memory under reserved addresses, recordings,
// transfers. Only the public boundary (core/sdk/device.h) is used, so any device plugin can be
// measured. docs/BENCHMARKS.md has the results.
//
//   bench_device DEVICE [SIZE [TIMES]]
//
// SIZE is what is transferred at once (1GiB), TIMES how often each is done (20; transfers a quarter
// of that). Plugins lie beside the program, as those of the command.
//
// Prints a row per question: median, least and most, and the unit.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "core/base/bytes.h"
#include "core/base/parallel.h"
#include "core/memory/open_device.h"
#include "core/plugin/host.h"
#include "core/plugin/registry.h"
#include "tools/probes/machine_probe.h"

namespace {

using namespace rt;
using Clock = std::chrono::steady_clock;

// Granules, of 2 MiB on GPUs: one, 64 tokens of Phi-3 (393,216 bytes each), and 64 MiB.
constexpr std::uint64_t kGrowths[] = {1, 12, 32};
constexpr std::uint64_t kMostGranules = 64;
constexpr std::chrono::milliseconds kMakingTime(50);  // 32 granules at 0.2 ms are 6.4
constexpr std::uint64_t kCachedBytes = 8 << 20;       // of the host: stays in its last-level cache

[[noreturn]] void fail(const Error& error) {
  std::fprintf(stderr, "bench_device: %s\n", error.message.c_str());
  std::_Exit(static_cast<int>(error.fault));  // a device may have a thread at work
}

template <class T>
T need(Result<T> result) {
  if (!result.ok()) fail(result.error());
  return std::move(result).value();
}
void need(const Status& status) {
  if (!status.ok()) fail(status.error());
}

double seconds_of(const std::function<void()>& work) {
  const Clock::time_point begin = Clock::now();
  work();
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

void print_row(const std::string& what, std::vector<double> values, const char* unit) {
  std::sort(values.begin(), values.end());
  std::printf("| %s | %.4g | %.4g | %.4g | %s |\n", what.c_str(), values[values.size() / 2],
              values.front(), values.back(), unit);
  std::fflush(stdout);
}

class DeviceBench {
 public:
  DeviceBench(const Device& device, const rt_device_desc& desc, std::uint64_t bytes, int times)
      : device_(
            need(OpenDevice::open(*device.c, desc, {}, device.host, take_fail_text, UINT64_MAX))),
        desc_(desc),
        bytes_(bytes),
        times_(times) {}

  void run() {
    std::printf("| %s, %s | median | least | most | unit |\n|---|---|---|---|---|\n", desc_.kind,
                desc_.name == nullptr ? "" : desc_.name);
    if (desc_.can_reserve != 0) measure_growth();
    if (desc_.can_reserve != 0 && desc_.can_capture != 0) measure_replay();
    measure_host();
    measure_transfers();
  }

 private:
  // Commits and decommits at the end of a range of which a part stands, as a cache grows.
  void measure_growth() {
    const std::uint64_t granule = desc_.granule_bytes;
    auto range = need(AddressRange::make(*device_, MemoryKind::kKv, kMostGranules * granule));
    need(range.commit(0, granule));
    for (const std::uint64_t granules : kGrowths) {
      std::vector<double> commits;
      std::vector<double> decommits;
      for (int i = 0; i < times_; ++i) {
        commits.push_back(1e6 *
                          seconds_of([&] { need(range.commit(granule, granules * granule)); }));
        decommits.push_back(1e6 *
                            seconds_of([&] { need(range.decommit(granule, granules * granule)); }));
      }
      const std::string size = std::to_string(granules) + " x " + format_bytes(granule);
      print_row("commit of " + size, commits, "us");
      print_row("decommit of " + size, decommits, "us");
      if (desc_.can_make_ready != 0) measure_ready(range, granules * granule, size);
    }
  }

  // The same commits when the device's own thread has had time to make the memory.
  void measure_ready(AddressRange& range, std::uint64_t bytes, const std::string& size) {
    std::vector<double> commits;
    for (int i = 0; i < times_; ++i) {
      need(device_->make_ready(bytes));
      std::this_thread::sleep_for(kMakingTime);
      commits.push_back(1e6 * seconds_of([&] { need(range.commit(desc_.granule_bytes, bytes)); }));
      need(range.decommit(desc_.granule_bytes, bytes));
    }
    print_row("commit of " + size + " made ready", commits, "us");
  }

  // A recorded copy into the first granule of a range, before and after others are committed.
  void measure_replay() {
    const std::uint64_t granule = desc_.granule_bytes;
    auto range = need(AddressRange::make(*device_, MemoryKind::kKv, kMostGranules * granule));
    need(range.commit(0, granule));
    const auto source = need(Buffer::make(*device_, MemoryKind::kActivations, granule));
    need(device_->capture_begin());
    const Status recorded = device_->copy(range.data(), source.data(), granule);
    void* graph = need(device_->capture_end());
    need(recorded);
    const auto replay = [&] {
      return 1e6 * seconds_of([&] {
               need(device_->replay(graph));
               need(device_->synchronize());
             });
    };
    const auto print = [&](const std::string& when) {
      print_row("first replay of a copy of " + format_bytes(granule) + when, {replay()}, "us");
      std::vector<double> values;
      for (int i = 0; i < times_; ++i) values.push_back(replay());
      print_row("later ones", values, "us");
    };
    print("");
    need(range.commit(granule, kGrowths[2] * granule));
    print(" after growth by " + std::to_string(kGrowths[2]) + " granules");
    device_->destroy_graph(graph);
  }

  // GB/s of plain reads of memory by as many threads as the host has.
  void measure_host() {
    probe::MachineProbe host(bytes_);
    std::vector<double> values;
    for (int i = 0; i < transfers(); ++i) {
      values.push_back(host.measure(host_threads(), false).read_bytes / 1e9);
    }
    print_row("host: plain reads by " + std::to_string(host_threads()) + " threads", values,
              "GB/s");
  }

  void measure_transfers() {
    const auto there = need(Buffer::make(*device_, MemoryKind::kWeightsOwned, bytes_));
    const auto other = need(Buffer::make(*device_, MemoryKind::kWeightsOwned, bytes_));
    std::vector<std::byte> here(bytes_, std::byte{1});
    const std::string size = format_bytes(bytes_);
    const std::uint64_t part = std::min(bytes_, kCachedBytes);
    rate("upload of " + size + " of pageable memory", 1,
         [&] { need(device_->upload(there.data(), here.data(), bytes_)); });
    rate("upload of the same " + format_bytes(part) + " again and again", 1, [&] {
      for (std::uint64_t at = 0; at + part <= bytes_; at += part) {
        need(device_->upload(there.data() + at, here.data(), part));
      }
    });
    rate("download of " + size, 1,
         [&] { need(device_->download(here.data(), there.data(), bytes_)); });
    rate("copy within the device, read and written", 2,
         [&] { need(device_->copy(other.data(), there.data(), bytes_)); });
  }

  // GB/s of `work`, which moves every byte `passes` times.
  void rate(const std::string& what, double passes, const std::function<void()>& work) {
    std::vector<double> values;
    for (int i = -1; i < transfers(); ++i) {  // the first touches the memory
      const double seconds = seconds_of([&] {
        work();
        need(device_->synchronize());
      });
      if (i >= 0) values.push_back(passes * static_cast<double>(bytes_) / seconds / 1e9);
    }
    print_row(what, values, "GB/s");
  }

  int transfers() const { return std::max(1, times_ / 4); }

  std::unique_ptr<OpenDevice> device_;
  rt_device_desc desc_;
  std::uint64_t bytes_;
  int times_;
};

void run(const std::vector<std::string>& words) {
  const std::uint64_t bytes = words.size() > 1 ? need(parse_bytes(words[1])) : 1 << 30;
  const int times = words.size() > 2 ? std::atoi(words[2].c_str()) : 20;
  if (bytes < 1 << 16 || times < 1)
    fail(bad_input("expected a SIZE of at least 64KiB and TIMES of at least 1"));
  RegistryOptions places;
  places.sources = process_sources({});
  const std::unique_ptr<Registry> registry = Registry::scan(places);
  const Device device = need(registry->device(words[0]));
  rt_device_desc desc{};
  desc.struct_size = sizeof desc;
  const Status described = call_plugin({device.full_name, "describe", ""}, [&] {
    return device.c->describe(device.host, 0, 0, nullptr, &desc);
  });
  if (!described.ok()) fail(environment(described.error().message));  // no driver, no device
  DeviceBench(device, desc, bytes, times).run();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2 || argc > 4) {
    std::fprintf(stderr, "bench_device DEVICE [SIZE [TIMES]]\n");
    return 2;
  }
  run({argv + 1, argv + argc});
}
