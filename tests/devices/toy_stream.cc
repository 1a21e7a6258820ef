#include "tests/devices/toy_stream.h"

#include <exception>
#include <utility>

#include "core/sdk/sdk.hpp"

namespace rt::toy {

void Fault::set(const char* text) {
  const std::scoped_lock lock(mutex_);
  if (!text_) text_ = text;
}

bool Fault::is_set() const {
  const std::scoped_lock lock(mutex_);
  return text_.has_value();
}

void Fault::check() const {
  const std::scoped_lock lock(mutex_);
  if (text_) throw sdk::Refusal(*text_, RT_DEVICE_FAULT);
}

Stream::Stream(Memory& memory, Fault& fault, std::chrono::microseconds delay)
    : memory_(memory), fault_(fault), delay_(delay), worker_([this] { work(); }) {}

Stream::~Stream() {
  {
    const std::scoped_lock lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  worker_.join();
}

void Stream::put(Command command) {
  fault_.check();
  auto shared = std::make_shared<const Command>(std::move(command));
  if (capturing()) {
    recording_->push_back(std::move(shared));
  } else {
    queue({std::move(shared)});
  }
}

void Stream::queue(const Graph& commands) {
  {
    const std::scoped_lock lock(mutex_);
    commands_.insert(commands_.end(), commands.begin(), commands.end());
    queued_ += commands.size();
  }
  unsynchronised_ = true;
  changed_.notify_all();
}

void Stream::wait() {
  if (capturing()) {
    throw sdk::Refusal("synchronize: the stream is recording; end the recording first", RT_INVALID);
  }
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return commands_.empty() && !busy_; });
  unsynchronised_ = false;
}

std::uint64_t Stream::mark() {
  const std::scoped_lock lock(mutex_);
  return queued_;
}

void Stream::wait_for(std::uint64_t mark) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return done_ >= mark; });
}

void Stream::capture_begin() {
  if (capturing()) throw sdk::Refusal("capture_begin: the stream is recording", RT_INVALID);
  recording_ = std::make_unique<Graph>();
}

std::unique_ptr<Graph> Stream::capture_end() {
  if (!capturing()) throw sdk::Refusal("capture_end: the stream is not recording", RT_INVALID);
  return std::exchange(recording_, nullptr);
}

void Stream::replay(const Graph& graph) {
  if (capturing()) throw sdk::Refusal("replay: the stream is recording", RT_INVALID);
  queue(graph);
}

void Stream::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return !commands_.empty() || ending_; });
    if (commands_.empty()) return;
    std::shared_ptr<const Command> command = std::move(commands_.front());
    commands_.pop_front();
    busy_ = true;
    lock.unlock();
    if (!fault_.is_set()) {
      if (delay_.count() > 0) std::this_thread::sleep_for(delay_);
      try {
        (*command)();
      } catch (const std::exception& failure) {
        fault_.set(failure.what());
      } catch (...) {
        fault_.set("an exception of unknown type");
      }
    }
    command.reset();  // before the host is told: it may own what the command held
    lock.lock();
    busy_ = false;
    ++done_;
    changed_.notify_all();
  }
}

}  // namespace rt::toy
