// `auto`: has no layout of its own. The host works out what every other planner costs for this
// conversation; the choice is the first of
//
//   fits the limit -> fewest address changes -> fewest copied bytes -> least peak -> least standing
//
// where peaks within 1/64 of the least count as equal: a stripe more is no reason to let the whole
// context stand from the first token.
#include <cstdio>
#include <iterator>
#include <sstream>

#include "core/sdk/planner.hpp"

namespace {

using namespace rt;

constexpr std::uint64_t kPeakTolerance = 64;

using Candidates = std::vector<std::uint32_t>;

struct Auto {
  // Leaves those of `left` whose cost is at most least + least / tolerance (0: exactly the least).
  template <class Cost>
  static void keep_least(const sdk::PlanCandidates& of, Candidates& left, std::uint64_t tolerance,
                         Cost&& cost) {
    std::uint64_t least = UINT64_MAX;
    for (const std::uint32_t i : left) least = std::min<std::uint64_t>(least, cost(*of[i]));
    const std::uint64_t most = least + (tolerance == 0 ? 0 : least / tolerance);
    std::erase_if(left, [&](std::uint32_t i) { return cost(*of[i]) > most; });
  }

  static std::uint32_t choose(const sdk::PlanProblem&, const sdk::PlanCandidates& of,
                              sdk::PlanSink& sink) {
    Candidates left;
    for (std::uint32_t i = 0; i < of.size(); ++i) left.push_back(i);
    using Candidate = rt_plan_candidate;
    keep_least(of, left, 0, [](const Candidate& c) { return 1u - c.fits; });
    keep_least(of, left, 0, [](const Candidate& c) { return c.address_changes; });
    keep_least(of, left, 0, [](const Candidate& c) { return c.copied_bytes; });
    keep_least(of, left, kPeakTolerance, [](const Candidate& c) { return c.peak_bytes; });
    keep_least(of, left, 0, [](const Candidate& c) { return c.standing_bytes; });
    sink.explain(reason(*of[left[0]], of.size()));
    return left[0];
  }

  // As the columns of `runtime plan` have it: "1.07 GiB".
  static std::string size_text(std::uint64_t bytes) {
    const char* const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double size = static_cast<double>(bytes);
    std::size_t unit = 0;
    for (; size >= 1024 && unit + 1 < std::size(units); ++unit) size /= 1024;
    char text[32];
    const int digits = unit == 0 || size >= 100 ? 0 : size >= 10 ? 1 : 2;
    std::snprintf(text, sizeof text, "%.*f %s", digits, size, units[unit]);
    return text;
  }

  static std::string reason(const rt_plan_candidate& chosen, std::size_t count) {
    std::ostringstream text;
    text << "chose " << chosen.name << " of " << count
         << " planners: " << (chosen.fits != 0 ? "it fits" : "none fits, this one comes nearest")
         << ", with " << chosen.address_changes << " address changes, " << chosen.copied_bytes
         << " bytes copied, a peak of " << size_text(chosen.peak_bytes) << " and "
         << size_text(chosen.standing_bytes) << " standing half way";
    return text.str();
  }
};

constexpr rt_planner kAuto =
    sdk::choosing_planner<Auto>("auto", "asks the other planners and picks one");

}  // namespace

RT_LIBRARY("planner_auto", "0.1.0", kAuto)
