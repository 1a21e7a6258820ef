#include "core/engine/batch_admission.h"

#include <algorithm>
#include <string>

#include "core/base/bytes.h"
#include "core/engine/admission.h"

namespace rt {
namespace {

Result<bool> fits(const Blueprint& blueprint) {
  RT_TRY(const Demand demand, demand_of(blueprint));
  return demand.fits();
}

class BatchAdmission {
 public:
  BatchAdmission(Registry& registry, const EngineOptions& options, std::uint64_t common)
      : registry_(registry), options_(options), common_(common) {}

  // With the prefix shared if there is one, unless only the batch without fits or neither does and
  // that needs less: the sequence of the prefix has a table and a row of its own.
  Result<std::unique_ptr<Blueprint>> draw_for(std::uint32_t requests) const {
    RT_TRY(auto sharing, draw_sharing(registry_, options_, requests, common_));
    if (sharing->options.shared_tokens == 0) return sharing;
    RT_TRY(const Demand shared, demand_of(*sharing));
    if (shared.fits()) return sharing;
    RT_TRY(auto plain, draw_sharing(registry_, options_, requests, 0));
    RT_TRY(const Demand unshared, demand_of(*plain));
    return shared.bytes() < unshared.bytes() ? std::move(sharing) : std::move(plain);
  }
  std::uint64_t common() const { return common_; }

  // The most requests below `not_so_many` that fit at once; null if not even one.
  Result<std::unique_ptr<Blueprint>> most_below(std::uint32_t not_so_many) const {
    std::unique_ptr<Blueprint> best;
    std::uint32_t low = 0;  // fits (0: nothing); not_so_many does not
    while (not_so_many - low > 1) {
      const std::uint32_t middle = low + (not_so_many - low) / 2;
      RT_TRY(auto blueprint, draw_for(middle));
      RT_TRY(const bool middle_fits, fits(*blueprint));
      (middle_fits ? low : not_so_many) = middle;
      if (middle_fits) best = std::move(blueprint);
    }
    return best;
  }

 private:
  Registry& registry_;
  const EngineOptions& options_;
  std::uint64_t common_;
};

// The batch, and its longest request as what the planner is told.
void declare(EngineOptions& options, std::span<const GenerateRequest> requests) {
  constexpr std::uint64_t kMostNew = std::uint64_t{1} << 32;  // far over any context
  options.batch.clear();
  options.hard_budget = true;
  std::uint64_t tokens = options.prompt_tokens = 0;
  for (const GenerateRequest& request : requests) {
    const std::uint64_t prompt = request.prompt.size();
    const bool declared = request.max_new_tokens.has_value();
    const std::uint64_t fresh = std::min(request.max_new_tokens.value_or(1), kMostNew);
    options.batch.push_back({prompt, prompt + fresh, declared});
    options.hard_budget = options.hard_budget && declared;
    options.prompt_tokens = std::max(options.prompt_tokens, prompt);
    tokens = std::max(tokens, prompt + fresh);
  }
  options.new_tokens = options.hard_budget ? tokens - options.prompt_tokens : 0;
  options.max_sequences = std::min<std::uint32_t>(
      options.max_sequences, static_cast<std::uint32_t>(std::max<std::size_t>(1, requests.size())));
}

std::string fewer_note(const Blueprint& b, std::uint32_t wanted) {
  return std::to_string(wanted) + " prompts at once do not fit in " + format_bytes(b.limit_bytes) +
         "; " + std::to_string(at_once(b.options)) + " at a time do";
}

}  // namespace

std::uint64_t common_tokens(std::span<const GenerateRequest> requests) {
  if (requests.size() < 2) return 0;
  const std::vector<std::int32_t>& first = requests[0].prompt;
  std::size_t common = first.size();
  for (const GenerateRequest& request : requests) {
    const std::vector<std::int32_t>& prompt = request.prompt;
    if (prompt.empty()) return 0;
    common = std::min(common, prompt.size() - 1);
    const auto end = prompt.begin() + static_cast<std::ptrdiff_t>(common);
    common = static_cast<std::size_t>(std::mismatch(prompt.begin(), end, first.begin()).first -
                                      prompt.begin());
  }
  return common;
}

std::uint64_t shared_stripes(const Blueprint& blueprint, std::uint64_t common) {
  if (blueprint.kv == nullptr) return 0;
  const std::uint64_t at = blueprint.graph.rope_switch_tokens;
  return blueprint.kv->shareable_tokens(at > 0 ? std::min(common, at) : common);
}

Result<std::unique_ptr<Blueprint>> draw_sharing(Registry& registry, EngineOptions options,
                                                std::uint32_t requests, std::uint64_t common) {
  options.shared_tokens = 0;
  options.common_tokens = common;
  if (common > 0) {
    options.max_sequences = requests + 1;
    RT_TRY(auto sharing, draw(registry, options));
    sharing->options.shared_tokens = shared_stripes(*sharing, common);
    if (sharing->options.shared_tokens > 0) return sharing;
    options.common_tokens = 0;
  }
  options.max_sequences = requests;
  return draw(registry, options);
}

Result<std::unique_ptr<Blueprint>> redraw_sharing(Registry& registry, const Blueprint& base,
                                                  const KvChoice& choice, std::uint64_t common) {
  if (common == 0) return redraw(registry, base, choice);
  EngineOptions options = base.options;
  options.planner = choice.planner;
  options.planner_options = choice.planner_options;
  options.kv_dtype = choice.kv_dtype;
  options.prompt_tokens = choice.prompt_tokens;
  options.new_tokens = choice.new_tokens;
  options.hard_budget = choice.hard_budget;
  return draw_sharing(registry, options, at_once(base.options), common);
}

Result<std::unique_ptr<Blueprint>> admit_batch(Registry& registry, EngineOptions options,
                                               std::span<const GenerateRequest> requests) {
  declare(options, requests);
  const BatchAdmission admission(registry, options, common_tokens(requests));
  const std::uint32_t wanted = options.max_sequences;
  RT_TRY(auto blueprint, admission.draw_for(wanted));
  RT_TRY(const bool all, fits(*blueprint));
  if (all) return blueprint;
  RT_TRY(auto fewer, admission.most_below(wanted));
  const bool hard = std::any_of(options.batch.begin(), options.batch.end(),
                                [](const KvRequest& request) { return request.declared; });
  if (fewer != nullptr && !hard) {
    fewer->notes.push_back(fewer_note(*fewer, wanted));
    return fewer;
  }
  std::vector<std::string> offers;
  if (fewer != nullptr) {
    offers.push_back("with --parallel " + std::to_string(at_once(fewer->options)) + " they fit");
  }
  RT_RETURN_IF_ERROR(admit_or_offer(registry, *blueprint, std::move(offers), admission.common()));
  return blueprint;
}

}  // namespace rt
