#include "tools/runtime/operator_table.h"

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "core/base/json.h"
#include "tools/runtime/text_table.h"

namespace rt {
namespace {

std::string number(const char* format, double value) {
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

std::string share(double part, double whole) {
  return part > 0 && whole > 0 ? number("%.0f %%", 100 * part / whole) : "-";
}

double per_second(double amount, double seconds) {
  return seconds > 0 ? amount / seconds : 0;
}

double seconds_in_nodes(const std::vector<OperatorRow>& rows) {
  double sum = 0;
  for (const OperatorRow& row : rows) sum += row.seconds;
  return sum;
}

TableRow cells(const OperatorRow& row, double seconds, const probe::Limits& limits) {
  const double bytes = per_second(static_cast<double>(row.work.bytes()), row.seconds);
  const double flops = per_second(row.work.flops, row.seconds);
  return {row.op,
          row.implementation,
          row.decode ? "decode" : "prefill",
          std::to_string(row.calls),
          number("%.2f", 1e3 * row.seconds),
          share(row.seconds, seconds),
          bytes > 0 ? number("%.1f", bytes / 1e9) : "-",
          share(bytes, limits.read_bytes),
          flops > 0 ? number("%.1f", flops / 1e9) : "-",
          share(flops, limits.f32_flops),
          share(flops, limits.bf16_flops)};
}

Json row_json(const OperatorRow& row, double seconds, const probe::Limits& limits) {
  const double bytes = per_second(static_cast<double>(row.work.bytes()), row.seconds);
  const double flops = per_second(row.work.flops, row.seconds);
  const auto part = [](double x, double of) { return of > 0 ? Json(x / of) : Json(); };
  return {{"op", row.op},
          {"implementation", row.implementation},
          {"step", row.decode ? "decode" : "prefill"},
          {"calls", row.calls},
          {"seconds", row.seconds},
          {"share", part(row.seconds, seconds)},
          {"weight_bytes", row.work.weight_bytes},
          {"kv_bytes", row.work.kv_bytes},
          {"flops", row.work.flops},
          {"bytes_per_second", bytes},
          {"flops_per_second", flops},
          {"of_read", part(bytes, limits.read_bytes)},
          {"of_f32", part(flops, limits.f32_flops)},
          {"of_bf16", part(flops, limits.bf16_flops)}};
}

}  // namespace

void OperatorTable::add(const NodeReport& report) {
  const Selection& selection = blueprint_->selection(report.node, report.decode);
  const std::string& op = blueprint_->node(report.node).op;
  OperatorRow& row = rows_[{report.decode, op, selection.chosen.full_name}];
  row.decode = report.decode;
  row.op = op;
  row.implementation = selection.chosen.full_name;
  ++row.calls;
  row.seconds += std::chrono::duration<double>(report.end - report.begin).count();
  row.work += node_work(*blueprint_, report.node, *report.step);
}

std::vector<OperatorRow> OperatorTable::rows() const {
  std::vector<OperatorRow> rows;
  for (const auto& [key, row] : rows_) rows.push_back(row);
  std::stable_sort(rows.begin(), rows.end(), [](const OperatorRow& a, const OperatorRow& b) {
    return a.seconds > b.seconds;
  });
  return rows;
}

std::string operator_text(const std::vector<OperatorRow>& rows, double seconds,
                          const probe::Limits& limits) {
  std::vector<TableRow> table{{"operator", "implementation", "step", "calls", "ms", "share", "GB/s",
                               "of read", "Gflop/s", "of f32", "of bf16"}};
  for (const OperatorRow& row : rows) table.push_back(cells(row, seconds, limits));
  const double between = std::max(0.0, seconds - seconds_in_nodes(rows));
  table.push_back({"between nodes", "", "", "", number("%.2f", 1e3 * between),
                   share(between, seconds), "", "", "", "", ""});
  return markdown_table(table);
}

Json operator_json(const std::vector<OperatorRow>& rows, double seconds,
                   const probe::Limits& limits) {
  Json list = Json::array();
  for (const OperatorRow& row : rows) list.push_back(row_json(row, seconds, limits));
  return {{"seconds", seconds},
          {"between_nodes", std::max(0.0, seconds - seconds_in_nodes(rows))},
          {"operators", std::move(list)}};
}

}  // namespace rt
