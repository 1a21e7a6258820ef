#include "tools/runtime/memory_chart.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iterator>

namespace rt {
namespace {

// In units of the view box.
constexpr double kWidth = 860;
constexpr double kHeight = 470;
constexpr double kLeft = 84;
constexpr double kRight = 690;  // the names of the lines stand to the right of it
constexpr double kTop = 74;
constexpr double kBottom = 410;
constexpr double kNameGap = 16;  // least distance of two names
constexpr std::size_t kColours = 8;

// Colours that keep a contrast of at least 3 : 1 with the background of their scheme. Lines differ
// in their dashes too, for those who do not see the colours apart.
struct Scheme {
  const char* ground;
  const char* ink;
  const char* soft;
  const char* faint;
  const char* lines[kColours];
};
constexpr Scheme kLight{
    "#ffffff",
    "#1f2328",
    "#57606a",
    "#d0d7de",
    {"#0969da", "#cf222e", "#1a7f37", "#8250df", "#9a6700", "#bf3989", "#0e7490", "#57606a"}};
constexpr Scheme kDark{
    "#0d1117",
    "#e6edf3",
    "#9198a1",
    "#30363d",
    {"#4493f8", "#ff7b72", "#3fb950", "#ab7df8", "#d29922", "#f778ba", "#39c5cf", "#9198a1"}};
constexpr const char* kDashes[] = {"", "9 4", "3 3", "12 4 3 4", "6 3", "2 5", "14 5", "5 2 1 2"};

template <class... Args>
std::string print(const char* format, Args... args) {
  char text[512];
  std::snprintf(text, sizeof text, format, args...);
  return text;
}

// Plain rules and no variables, which not every viewer knows.
std::string rules(const Scheme& scheme) {
  std::string out = print("    .ground { fill: %s } text { fill: %s } .soft { fill: %s }\n",
                          scheme.ground, scheme.ink, scheme.soft) +
                    print("    .grid { stroke: %s }\n", scheme.faint);
  for (std::size_t i = 0; i < kColours; ++i) {
    out += print("    .line%zu { stroke: %s } .name%zu { fill: %s }\n", i, scheme.lines[i], i,
                 scheme.lines[i]);
  }
  return out;
}

std::string style() {
  return "  <style>\n    text { font: 13px sans-serif }\n"
         "    .title { font-size: 17px; font-weight: 600 }\n"
         "    .line { fill: none; stroke-width: 2.2; stroke-linejoin: round }\n" +
         rules(kLight) + "    @media (prefers-color-scheme: dark) {\n" + rules(kDark) +
         "    }\n  </style>\n";
}

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '&':
        out += "&amp;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

// The next of 1, 2, 5, 10, 20, ... (or, of bytes, the next power of two) that makes at most
// `count` steps up to `most`.
double decimal_step(double most, int count) {
  double step = 1;
  for (int i = 0; step * count < most; ++i) step *= i % 3 == 1 ? 2.5 : 2;
  return step;
}
double binary_step(double most, int count) {
  double step = 1024;
  while (step * count < most) step *= 2;
  return step;
}

struct Unit {
  double bytes;
  const char* name;
};

Unit unit_of(double most) {
  constexpr Unit kUnits[] = {
      {1024.0 * 1024 * 1024, "GiB"}, {1024.0 * 1024, "MiB"}, {1024.0, "KiB"}};
  for (const Unit& unit : kUnits) {
    if (most >= unit.bytes) return unit;
  }
  return kUnits[2];
}

class Drawing {
 public:
  explicit Drawing(const MemoryChart& chart) : chart_(chart) {
    for (const ChartLine& line : chart.lines) {
      for (const ChartLine::Point& point : line.points) {
        most_tokens_ = std::max(most_tokens_, static_cast<double>(point.tokens));
        most_bytes_ = std::max(most_bytes_, static_cast<double>(point.bytes));
      }
    }
    token_step_ = decimal_step(most_tokens_, 8);
    byte_step_ = binary_step(most_bytes_, 6);
    top_bytes_ = std::ceil(most_bytes_ / byte_step_) * byte_step_;
  }

  std::string run() {
    out_ = print("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %g %g\" role=\"img\">\n",
                 kWidth, kHeight);
    out_ += "  <title>" + escaped(chart_.title) + "</title>\n";
    out_ += style();
    out_ += "  <rect class=\"ground\" width=\"100%\" height=\"100%\"/>\n";
    text(kLeft, 30, "start", "title", chart_.title);
    text(kLeft, 51, "start", "soft", chart_.subtitle);
    axes();
    for (std::size_t i = 0; i < chart_.lines.size(); ++i) line(i);
    names();
    return out_ + "</svg>\n";
  }

 private:
  double x(double tokens) const { return kLeft + tokens / most_tokens_ * (kRight - kLeft); }
  double y(double bytes) const { return kBottom - bytes / top_bytes_ * (kBottom - kTop); }

  void text(double at_x, double at_y, const char* anchor, const char* style,
            const std::string& words) {
    out_ += print("  <text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" class=\"%s\">", at_x, at_y,
                  anchor, style) +
            escaped(words) + "</text>\n";
  }
  void grid(double x1, double y1, double x2, double y2) {
    out_ += print("  <line class=\"grid\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n", x1,
                  y1, x2, y2);
  }

  void axes() {
    const Unit unit = unit_of(top_bytes_);
    for (double bytes = 0; bytes <= top_bytes_; bytes += byte_step_) {
      grid(kLeft, y(bytes), kRight, y(bytes));
      text(kLeft - 8, y(bytes) + 4, "end", "", print("%g %s", bytes / unit.bytes, unit.name));
    }
    for (double tokens = 0; tokens <= most_tokens_; tokens += token_step_) {
      grid(x(tokens), kBottom, x(tokens), kBottom + 5);
      text(x(tokens), kBottom + 21, "middle", "", print("%.0f", tokens));
    }
    text((kLeft + kRight) / 2, kBottom + 45, "middle", "soft", "tokens of the conversation");
  }

  // Stands until the next point, then jumps.
  void line(std::size_t index) {
    const ChartLine& line = chart_.lines[index];
    if (line.points.empty()) return;
    std::string path;
    for (const ChartLine::Point& point : line.points) {
      const double at_x = x(static_cast<double>(point.tokens));
      const double at_y = y(static_cast<double>(point.bytes));
      path += path.empty() ? print("M%.1f %.1f", at_x, at_y) : print("H%.1fV%.1f", at_x, at_y);
    }
    path += print("H%.1f", x(most_tokens_));
    const char* dash = kDashes[index % std::size(kDashes)];
    out_ += print("  <path class=\"line line%zu\"", index % kColours) +
            (*dash != '\0' ? print(" stroke-dasharray=\"%s\"", dash) : "") + " d=\"" + path +
            "\"><title>" + escaped(line.name) + "</title></path>\n";
  }

  // At the lines' ends, moved apart where they would overlap.
  void names() {
    struct Name {
      std::size_t index;
      double y;
    };
    std::vector<Name> names;
    for (std::size_t i = 0; i < chart_.lines.size(); ++i) {
      if (chart_.lines[i].points.empty()) continue;
      names.push_back({i, y(static_cast<double>(chart_.lines[i].points.back().bytes)) + 4});
    }
    std::stable_sort(names.begin(), names.end(),
                     [](const Name& a, const Name& b) { return a.y > b.y; });
    for (std::size_t i = 1; i < names.size(); ++i) {
      names[i].y = std::min(names[i].y, names[i - 1].y - kNameGap);
    }
    for (const Name& name : names) {
      out_ += print("  <text x=\"%.1f\" y=\"%.1f\" class=\"name%zu\">", kRight + 10, name.y,
                    name.index % kColours) +
              escaped(chart_.lines[name.index].name) + "</text>\n";
    }
  }

  const MemoryChart& chart_;
  double most_tokens_ = 1;
  double most_bytes_ = 1;
  double token_step_ = 1;
  double byte_step_ = 1;
  double top_bytes_ = 1;
  std::string out_;
};

}  // namespace

std::string to_svg(const MemoryChart& chart) {
  return Drawing(chart).run();
}

}  // namespace rt
