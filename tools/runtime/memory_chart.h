// Memory over tokens, one stepped line per planner, as an SVG that needs nothing else to be seen:
// colours follow the viewer's light or dark scheme, every line is named at its end.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace rt {

struct ChartLine {
  struct Point {
    std::uint64_t tokens = 0;
    std::uint64_t bytes = 0;
  };
  std::string name;
  std::vector<Point> points;  // tokens rise; between two points the bytes stay
};

struct MemoryChart {
  std::string title;
  std::string subtitle;
  std::vector<ChartLine> lines;
};

std::string to_svg(const MemoryChart& chart);

}  // namespace rt
