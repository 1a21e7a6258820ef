// --trace FILE: what a run does over time, in Chrome's trace format (chrome://tracing, Perfetto).
// Steps are slices, with --ops the nodes within them too; commits, decommits, copies, address
// changes and tokens prefilled again are instants with their bytes or tokens; the KV cache's bytes
// are a counter. Counts and sums equal the ledger's.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "core/base/json_fwd.h"
#include "core/base/result.h"
#include "core/engine/session.h"
#include "tools/runtime/output_file.h"
#include "tools/runtime/settings.h"

namespace rt {

class TraceFile {
 public:
  // An empty path is a trace that nobody wants.
  static Result<std::unique_ptr<TraceFile>> open(const std::string& path);
  // The path of --trace; with --ops every node is a slice within its step.
  static Result<std::unique_ptr<TraceFile>> open(const Settings& settings);
  // Of a run that failed: what there is stays readable.
  ~TraceFile();
  TraceFile(const TraceFile&) = delete;
  TraceFile& operator=(const TraceFile&) = delete;

  // Before the session's first sequence begins. The session is not used after close().
  void watch(Session& session);
  // Before a watched session ends, if another one follows.
  void unwatch();
  // For those who watch nodes themselves (--ops).
  void add_node(const NodeReport& report);
  // Ends the file, and says what writing it came to.
  Status close();

 private:
  using Clock = std::chrono::steady_clock;

  explicit TraceFile(OutputFile file) : file_(std::move(file)) {}
  double microseconds(Clock::time_point at) const;
  void add_step(const StepReport& report);
  void add_event(const KvEvent& event);
  void write(const Json& event);

  OutputFile file_;
  Session* session_ = nullptr;
  Clock::time_point start_ = Clock::now();
  bool empty_ = true;
  bool nodes_ = false;  // watch() watches them too
  Status status_;       // of the first write that failed
};

}  // namespace rt
