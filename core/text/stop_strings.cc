#include "core/text/stop_strings.h"

#include <algorithm>

#include "core/base/text.h"
#include "core/base/utf8.h"

namespace rt {

Result<StopStrings> StopStrings::create(std::span<const std::string> stops) {
  if (stops.size() > kMaxCount) {
    return bad_input("stop strings: expected at most " + std::to_string(kMaxCount) + ", found " +
                     std::to_string(stops.size()));
  }
  StopStrings set;
  for (std::size_t i = 0; i < stops.size(); ++i) {
    const std::string& text = stops[i];
    if (text.empty() || text.size() > kMaxBytes || !utf8_valid(text)) {
      return bad_input("stop string " + std::to_string(i + 1) + ": expected 1 to " +
                       std::to_string(kMaxBytes) + " bytes of UTF-8, found " + quote(text));
    }
    Stop stop{text, std::vector<std::size_t>(text.size(), 0), 0};
    for (std::size_t at = 1, border = 0; at < text.size(); ++at) {
      while (border > 0 && text[at] != text[border]) border = stop.border[border - 1];
      if (text[at] == text[border]) ++border;
      stop.border[at] = border;
    }
    set.stops_.push_back(std::move(stop));
  }
  return set;
}

void StopStrings::advance(Stop& stop, char byte) {
  while (stop.seen > 0 && stop.text[stop.seen] != byte) stop.seen = stop.border[stop.seen - 1];
  if (stop.text[stop.seen] == byte) ++stop.seen;
}

std::string StopStrings::push(std::string_view text) {
  if (stopped()) return "";
  for (const char byte : text) {
    held_ += byte;
    std::size_t longest = 0;
    for (std::size_t i = 0; i < stops_.size(); ++i) {
      advance(stops_[i], byte);
      const bool complete = stops_[i].seen == stops_[i].text.size();
      if (!complete || stops_[i].seen <= longest) continue;
      longest = stops_[i].seen;
      matched_ = static_cast<std::ptrdiff_t>(i);
    }
    if (!stopped()) continue;
    held_.resize(held_.size() - longest);
    return std::exchange(held_, "");
  }
  // A stop string may still grow from the longest end of the text that begins one.
  std::size_t kept = 0;
  for (const Stop& stop : stops_) kept = std::max(kept, stop.seen);
  std::string out = held_.substr(0, held_.size() - kept);
  held_.erase(0, out.size());
  return out;
}

std::string StopStrings::flush() {
  for (Stop& stop : stops_) stop.seen = 0;
  return std::exchange(held_, "");
}

}  // namespace rt
