#include "tools/runtime/trace_file.h"

#include "core/base/json.h"

namespace rt {
namespace {

// An event of the only process and thread there are.
Json event_json(const std::string& name, const char* phase, double at_us) {
  Json json = Json::object();
  json["name"] = name;
  json["ph"] = phase;
  json["ts"] = at_us;
  json["pid"] = 1;
  json["tid"] = 1;
  return json;
}

}  // namespace

Result<std::unique_ptr<TraceFile>> TraceFile::open(const std::string& path) {
  RT_TRY(OutputFile file, OutputFile::open("--trace", path));
  std::unique_ptr<TraceFile> trace(new TraceFile(std::move(file)));
  RT_RETURN_IF_ERROR(trace->file_.write("{\"displayTimeUnit\": \"ms\", \"traceEvents\": [\n"));
  return trace;
}

Result<std::unique_ptr<TraceFile>> TraceFile::open(const Settings& settings) {
  const std::string path = settings.text("trace");
  const bool nodes = settings.flag("ops");
  if (nodes && path.empty()) {
    return bad_input("--ops: operators are written into a trace; give --trace FILE too");
  }
  RT_TRY(std::unique_ptr<TraceFile> trace, open(path));
  trace->nodes_ = nodes;
  return trace;
}

TraceFile::~TraceFile() {
  if (file_.wanted()) (void)file_.write("\n]}\n");
}

double TraceFile::microseconds(Clock::time_point at) const {
  return std::chrono::duration<double, std::micro>(at - start_).count();
}

void TraceFile::watch(Session& session) {
  if (!file_.wanted()) return;
  session_ = &session;
  session.observe([this](const KvEvent& event) { add_event(event); });
  session.observe_steps([this](const StepReport& report) { add_step(report); });
  if (nodes_) session.observe_nodes([this](const NodeReport& report) { add_node(report); });
}

void TraceFile::unwatch() {
  if (session_ == nullptr) return;
  session_->observe({});
  session_->observe_steps({});
  session_->observe_nodes({});
  session_ = nullptr;
}

void TraceFile::add_node(const NodeReport& report) {
  if (session_ == nullptr) return;
  const Blueprint& b = session_->blueprint();
  const GraphNode& ran = b.node(report.node);
  Json node = event_json(ran.name, "X", microseconds(report.begin));
  node["dur"] = std::chrono::duration<double, std::micro>(report.end - report.begin).count();
  node["cat"] = "node";
  node["args"] = {{"op", ran.op},
                  {"implementation", b.selection(report.node, report.decode).chosen.full_name}};
  write(node);
}

void TraceFile::add_step(const StepReport& report) {
  Json step = event_json(report.decode ? "decode" : "prefill", "X", microseconds(report.begin));
  step["dur"] = std::chrono::duration<double, std::micro>(report.end - report.begin).count();
  step["cat"] = "step";
  step["args"] = {{"tokens", report.tokens}, {"sequences", report.sequences}};
  write(step);
  Json counter = event_json("KV cache", "C", microseconds(report.end));
  counter["args"] = {{"bytes", session_->ledger().now()[MemoryKind::kKv]}};
  write(counter);
}

void TraceFile::add_event(const KvEvent& event) {
  Json json = event_json(std::string(kv_event_name(event.kind)), "i", microseconds(Clock::now()));
  json["cat"] = "kv";
  json["s"] = "t";  // an instant of this thread
  json["args"] = {{"sequence", event.sequence},
                  {"class", event.kv_class},
                  {"bytes", event.bytes},
                  {"tokens", event.tokens}};
  write(json);
}

void TraceFile::write(const Json& event) {
  if (!status_.ok()) return;
  status_ = file_.write((empty_ ? "" : ",\n") + event.dump());
  empty_ = false;
}

Status TraceFile::close() {
  unwatch();
  RT_RETURN_IF_ERROR(status_);
  RT_RETURN_IF_ERROR(file_.write("\n]}\n"));
  return file_.close();
}

}  // namespace rt
