#include "tools/runtime/bench_report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "core/base/bytes.h"
#include "core/base/json.h"
#include "tools/runtime/output.h"
#include "tools/runtime/text_table.h"

namespace rt {
namespace {

struct Column {
  const char* name;
  std::size_t width;  // rows are printed as they come, so the widest cell is not known
};

constexpr Column kColumns[] = {{"model", 9}, {"size", 8},    {"params", 7},         {"weights", 7},
                               {"KV", 4},    {"planner", 7}, {"device", 6},         {"threads", 7},
                               {"test", 14}, {"t/s", 22},    {"of the machine", 45}};

std::string number(const char* format, double value) {
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return values.empty() ? 0 : sum / static_cast<double>(values.size());
}

// Of a sample, as llama-bench computes it; 0 of a single one.
double deviation(const std::vector<double>& values) {
  if (values.size() < 2) return 0;
  const double middle = mean(values);
  double sum = 0;
  for (const double value : values) sum += (value - middle) * (value - middle);
  return std::sqrt(sum / static_cast<double>(values.size() - 1));
}

// Median over the repetitions of amount / seconds / limit, each against its own probe; 0 where
// there is no such limit.
double share(const BenchResult& result, double amount, double probe::Limits::*limit) {
  std::vector<double> parts;
  for (std::size_t i = 0; i < result.limits.size() && i < result.seconds.size(); ++i) {
    const double most = result.limits[i].*limit;
    if (most > 0) parts.push_back(amount / result.seconds[i] / most);
  }
  return median(std::move(parts));
}

struct Shares {
  double read = 0;
  double f32 = 0;
  double bf16 = 0;
  double int8 = 0;
};

Shares shares_of(const BenchResult& result) {
  const double flops = result.work.flops;
  return {share(result, static_cast<double>(result.work.bytes()), &probe::Limits::read_bytes),
          share(result, flops, &probe::Limits::f32_flops),
          share(result, flops, &probe::Limits::bf16_flops),
          share(result, flops, &probe::Limits::int8_ops)};
}

bool is_float(const std::string& format) {
  return format == "f32" || format == "f16" || format == "bf16";
}

// Of a device without threads: what it did, and the share of the fastest product.
std::string product_text(const BenchResult& result, double part) {
  const double seconds = median(result.seconds);
  if (seconds <= 0) return "-";
  const double flops = result.work.flops / seconds;
  const std::string text = number("%.1f Tflop/s", flops / 1e12);
  if (part <= 0) return text;
  return text + number(", %.0f %%", 100 * part) + " of " + result.product +
         number(" (%.1f)", flops / part / 1e12);
}

// Decode is held against reading, prefill against arithmetic; the two in turn against neither.
std::string limits_text(const BenchResult& result) {
  if (result.limits.empty() || (result.test.prompt > 0 && result.test.generated > 0)) return "-";
  const probe::Limits limits = median_limits(result.limits);
  const Shares part = shares_of(result);
  if (result.test.generated > 0) {
    return number("%.0f %%", 100 * part.read) +
           number(result.model.threads > 0 ? " of %.1f GB/s read" : " of %.1f GB/s copied",
                  limits.read_bytes / 1e9);
  }
  if (result.model.threads == 0) return product_text(result, std::max(part.f32, part.bf16));
  std::string text =
      number("%.0f %%", 100 * part.f32) + number(" of f32 (%.0f Gflop/s)", limits.f32_flops / 1e9);
  if (part.bf16 > 0) {
    text +=
        number(", %.0f %%", 100 * part.bf16) + number(" of bf16 (%.0f)", limits.bf16_flops / 1e9);
  }
  if (part.int8 > 0 && !is_float(result.model.weights_format)) {
    text += number(", %.0f %%", 100 * part.int8) + number(" of int8 (%.0f)", limits.int8_ops / 1e9);
  }
  return text;
}

std::string speed_text(const std::vector<double>& speeds) {
  const auto [least, most] = std::minmax_element(speeds.begin(), speeds.end());
  const double middle = median(speeds);
  const char* format = middle < 100 ? "%.2f" : "%.0f";
  return number(format, middle) + " [" + number(format, *least) + ", " + number(format, *most) +
         "]";
}

std::string parameters_text(std::uint64_t count) {
  const auto n = static_cast<double>(count);
  return n >= 1e9 ? number("%.2f B", n / 1e9) : number("%.2f M", n / 1e6);
}

TableRow table_row(const BenchResult& result) {
  const BenchModel& m = result.model;
  return {m.name,
          format_bytes(m.weight_bytes),
          parameters_text(m.parameters),
          m.weights_format,
          m.kv_dtype,
          m.planner,
          m.device,
          std::to_string(m.threads),
          result.test.name(),
          speed_text(result.tokens_per_second()),
          limits_text(result)};
}

std::string markdown_line(const TableRow& row) {
  std::string line;
  for (std::size_t c = 0; c < row.size(); ++c) {
    const std::size_t width = std::max(kColumns[c].width, row[c].size());
    const std::string blanks(width - row[c].size(), ' ');
    const bool left = c == 0 || c + 1 == row.size();
    line += "| " + (left ? row[c] + blanks : blanks + row[c]) + " ";
  }
  return line + "|\n";
}

std::string markdown_head() {
  TableRow names;
  std::string rule;
  for (const Column& column : kColumns) {
    names.emplace_back(column.name);
    rule += "|" + std::string(column.width + 1, '-') +
            (&column == kColumns || &column == std::end(kColumns) - 1 ? "-" : ":");
  }
  return markdown_line(names) + rule + "|\n";
}

// Quoted as RFC 4180 has it; lists and operators are for json.
std::string csv_cell(const Json& value) {
  if (value.is_null()) return "";
  const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
  if (text.find_first_of(",\"\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? "\"\"" : std::string(1, c);
  return quoted + "\"";
}

std::string csv_line(const Json& json, bool names) {
  std::string line;
  for (const auto& [name, value] : json.items()) {
    if (value.is_structured()) continue;
    line += (line.empty() ? "" : ",") + (names ? name : csv_cell(value));
  }
  return line + "\n";
}

Json samples(const std::vector<probe::Limits>& limits, double probe::Limits::*limit) {
  Json list = Json::array();
  for (const probe::Limits& one : limits) list.push_back(one.*limit);
  return list;
}

Json probe_json(const BenchResult& result) {
  const probe::PeakNames names = result.model.threads > 0
                                     ? probe::peak_names()
                                     : probe::PeakNames{"", result.product.c_str(), ""};
  return {{"read_bytes_per_second", samples(result.limits, &probe::Limits::read_bytes)},
          {"f32_flops_per_second", samples(result.limits, &probe::Limits::f32_flops)},
          {"bf16_flops_per_second", samples(result.limits, &probe::Limits::bf16_flops)},
          {"int8_ops_per_second", samples(result.limits, &probe::Limits::int8_ops)},
          {"f32", names.f32},
          {"bf16", names.bf16},
          {"int8", names.int8}};
}

void add_model(const BenchModel& model, Json& json) {
  json["model"] = model.name;
  json["model_size"] = model.weight_bytes;
  json["model_n_params"] = model.parameters;
  json["weights_format"] = model.weights_format;
  json["kv_dtype"] = model.kv_dtype;
  json["planner"] = model.planner;
  json["device"] = model.device;
  json["device_name"] = model.device_name;
  json["n_threads"] = model.threads;
  json["n_ubatch"] = model.step_tokens;
}

void add_speed(const BenchResult& result, Json& json) {
  std::vector<double> ns;
  for (const double s : result.seconds) ns.push_back(std::round(1e9 * s));
  const std::vector<double> ts = result.tokens_per_second();
  const auto [least, most] = std::minmax_element(ts.begin(), ts.end());
  json["avg_ns"] = mean(ns);
  json["stddev_ns"] = deviation(ns);
  json["avg_ts"] = mean(ts);
  json["stddev_ts"] = deviation(ts);
  json["median_ts"] = median(ts);
  json["min_ts"] = *least;
  json["max_ts"] = *most;
  json["samples_ns"] = ns;
  json["samples_ts"] = ts;
}

}  // namespace

Json bench_json(const BenchResult& result) {
  Json json = Json::object();
  add_model(result.model, json);
  json["test"] = result.test.name();
  json["n_prompt"] = result.test.prompt;
  json["n_gen"] = result.test.generated;
  json["n_depth"] = result.test.depth;
  add_speed(result, json);
  json["weight_bytes_read"] = result.work.weight_bytes;
  json["kv_bytes_read"] = result.work.kv_bytes;
  json["bytes_read"] = result.work.bytes();
  json["flops"] = result.work.flops;
  const Shares part = shares_of(result);
  const auto known = [](double share) { return share > 0 ? Json(share) : Json(); };
  json["of_read"] = known(part.read);
  json["of_f32"] = known(part.f32);
  json["of_bf16"] = known(part.bf16);
  json["of_int8"] = known(part.int8);
  json["peak_bytes"] = result.peak_bytes;
  json["captures"] = result.captures;
  json["probe"] = probe_json(result);
  if (!result.operators.empty()) {
    json["ops"] =
        operator_json(result.operators, result.observed_seconds, median_limits(result.limits));
  }
  return json;
}

Status BenchReport::add(const BenchResult& result) {
  const bool first = std::exchange(empty_, false);
  if (format_ == "json") return write_out((first ? "[\n" : ",\n") + bench_json(result).dump());
  if (format_ == "jsonl") return write_json(bench_json(result));
  if (format_ == "csv") {
    const Json json = bench_json(result);
    return write_out((first ? csv_line(json, true) : "") + csv_line(json, false));
  }
  if (!result.operators.empty()) {
    tables_ +=
        "\n" + result.model.name + ", " + result.model.weights_format + ", threads " +
        std::to_string(result.model.threads) + ", " + result.test.name() +
        ", one more repetition:\n\n" +
        operator_text(result.operators, result.observed_seconds, median_limits(result.limits));
  }
  return write_out((first ? markdown_head() : "") + markdown_line(table_row(result)));
}

Status BenchReport::finish() {
  if (format_ == "json") return write_out(empty_ ? "[]\n" : "\n]\n");
  return tables_.empty() ? Status() : write_out(tables_);
}

}  // namespace rt
