// A stream of the toy device: a queue and the one thread that works it off. put() returns at once;
// what a command reads and writes, host memory too, it reads and writes at its turn.
//
// A command that throws makes the device faulty for good: what stands behind it, on any stream, is
// thrown away, and every later call is refused with RT_DEVICE_FAULT and the first fault's text.
//
// Threads: put, wait and the recording from the device's caller.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "tests/devices/toy_memory.h"

namespace rt::toy {

using Command = std::function<void()>;
using Graph = std::vector<std::shared_ptr<const Command>>;  // in order

// The first thing that went wrong on a device. Any thread.
class Fault {
 public:
  void set(const char* text);
  bool is_set() const;
  // Throws sdk::Refusal(RT_DEVICE_FAULT) once set.
  void check() const;

 private:
  mutable std::mutex mutex_;
  std::optional<std::string> text_;
};

class Stream {
 public:
  // delay: slept before every command, so that a host which does not wait is found out.
  Stream(Memory& memory, Fault& fault, std::chrono::microseconds delay);
  ~Stream();  // finishes what is queued
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  const Memory& memory() const { return memory_; }

  // Queues or records. Throws once the device is faulty.
  void put(Command command);
  void wait();
  // The place behind the last command, and waiting until the worker has passed a place.
  std::uint64_t mark();
  void wait_for(std::uint64_t mark);
  // True from a put() to the next wait(), whatever the worker has done in between: what a host that
  // forgot to synchronise cannot know is not left to luck.
  bool unsynchronised() const { return unsynchronised_; }

  void capture_begin();
  std::unique_ptr<Graph> capture_end();
  bool capturing() const { return recording_ != nullptr; }
  void replay(const Graph& graph);

 private:
  void queue(const Graph& commands);
  void work();

  Memory& memory_;
  Fault& fault_;
  const std::chrono::microseconds delay_;
  bool unsynchronised_ = false;
  std::unique_ptr<Graph> recording_;

  std::mutex mutex_;  // of the five below
  std::deque<std::shared_ptr<const Command>> commands_;
  std::uint64_t queued_ = 0;  // commands since the start, as are those done
  std::uint64_t done_ = 0;
  bool busy_ = false;  // a command is running
  bool ending_ = false;
  std::condition_variable changed_;
  std::thread worker_;  // last: it uses all of the above
};

}  // namespace rt::toy
