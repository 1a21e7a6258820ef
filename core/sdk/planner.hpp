// The C++ comfort for memory planners, header-only: a planner is a struct with two functions.
//
//   struct Roomy {
//     static void plan(const sdk::PlanProblem& problem, sdk::PlanSink& sink);
//     static std::uint64_t capacity(const sdk::PlanProblem& problem, std::uint32_t class_index,
//                                   const rt_plan_sequence& sequence);
//   };
//   constexpr rt_planner kRoomy = sdk::planner<Roomy>("roomy", "...", kOptions);
//
//   RT_LIBRARY("acme_planner", "1.0.0", kRoomy)
//
// Throw sdk::Refusal to refuse. See plugins/planner_elastic for a whole one. A planner that only
// picks among others is a struct with one function, see plugins/planner_auto:
//
//   static std::uint32_t choose(const sdk::PlanProblem& problem, const sdk::PlanCandidates& of,
//                               sdk::PlanSink& sink);
//   constexpr rt_planner kPicky = sdk::choosing_planner<Picky>("picky", "...");
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/sdk/plugin.h"
#include "core/sdk/sdk.hpp"

namespace rt::sdk {

inline std::uint64_t ceil_div(std::uint64_t a, std::uint64_t b) {
  return (a + b - 1) / b;
}
inline std::uint64_t round_up(std::uint64_t a, std::uint64_t b) {
  return ceil_div(a, b) * b;
}

// Layers of one window, and how their K and V sections lie in a stripe.
struct PlanClass {
  rt_kv_form form = RT_KV_AFFINE;
  rt_growth growth = RT_GROW_NEVER;
  std::uint32_t window = 0;
  std::vector<std::uint32_t> layers;
  std::uint64_t stripe_tokens = 0;
  std::uint64_t stripe_bytes = 0;
  std::vector<std::uint64_t> k_offsets;
  std::vector<std::uint64_t> v_offsets;
  std::uint64_t reserve_tokens = 0;
};

class PlanProblem {
 public:
  explicit PlanProblem(const rt_plan_problem* c) : c_(c), options_(c->options, c->option_count) {}
  const rt_plan_problem& c() const { return *c_; }
  const Attributes& options() const { return options_; }
  std::uint64_t context() const { return c_->context_tokens; }
  bool reads(rt_kv_form form) const { return (c_->forms & RT_KV_FORM_BIT(form)) != 0; }

  // One class per window, in the order in which the windows first occur. A windowed class is a
  // ring where the attention implementations read rings, which bounds it to W - 1 + U tokens.
  std::vector<PlanClass> classes_by_window() const {
    std::vector<PlanClass> classes;
    for (std::uint32_t i = 0; i < c_->layer_count; ++i) {
      const std::uint32_t window = c_->layers[i]->window;
      auto found = std::find_if(classes.begin(), classes.end(),
                                [&](const PlanClass& c) { return c.window == window; });
      if (found == classes.end()) {
        found = classes.insert(found, PlanClass{});
        found->window = window;
        found->form = window > 0 && reads(RT_KV_RING) ? RT_KV_RING : RT_KV_AFFINE;
      }
      found->layers.push_back(i);
    }
    return classes;
  }

  // One class per layer: what moves when it grows then moves layer by layer, and the peak is the
  // new cache and one old layer instead of the new and the old cache.
  std::vector<PlanClass> classes_by_layer() const {
    std::vector<PlanClass> classes;
    for (const PlanClass& by_window : classes_by_window()) {
      for (const std::uint32_t layer : by_window.layers) {
        classes.push_back(by_window);
        classes.back().layers = {layer};
      }
    }
    return classes;
  }

  // Bytes of one token in all layers of a class.
  std::uint64_t token_bytes(const PlanClass& plan_class) const {
    std::uint64_t bytes = 0;
    for (const std::uint32_t layer : plan_class.layers) {
      bytes += c_->layers[layer]->k_row_bytes + c_->layers[layer]->v_row_bytes;
    }
    return bytes;
  }

  // Lays a class out in stripes of `tokens`: K and V of each layer in turn, every section rounded
  // up to the device's alignment.
  void stripe(PlanClass& plan_class, std::uint64_t tokens) const {
    plan_class.stripe_tokens = tokens;
    plan_class.k_offsets.clear();  // of an earlier call: a planner may try sizes
    plan_class.v_offsets.clear();
    std::uint64_t offset = 0;
    for (const std::uint32_t layer : plan_class.layers) {
      plan_class.k_offsets.push_back(offset);
      offset += round_up(tokens * c_->layers[layer]->k_row_bytes, c_->alignment_bytes);
      plan_class.v_offsets.push_back(offset);
      offset += round_up(tokens * c_->layers[layer]->v_row_bytes, c_->alignment_bytes);
    }
    plan_class.stripe_bytes = offset;
  }

 private:
  const rt_plan_problem* c_;
  Attributes options_;
};

class PlanSink {
 public:
  explicit PlanSink(rt_plan_sink* c) : c_(c) {}

  void add(const PlanClass& plan_class) {
    const bool striped = plan_class.stripe_tokens > 0;
    const rt_plan_class c{sizeof(rt_plan_class),
                          plan_class.form,
                          plan_class.growth,
                          static_cast<std::uint32_t>(plan_class.layers.size()),
                          plan_class.layers.data(),
                          plan_class.stripe_tokens,
                          plan_class.stripe_bytes,
                          striped ? plan_class.k_offsets.data() : nullptr,
                          striped ? plan_class.v_offsets.data() : nullptr,
                          plan_class.reserve_tokens};
    if (c_->add_class(c_, &c) != RT_OK) throw Refusal("the host refused a class", RT_INVALID);
  }
  void charge(const char* name, std::uint64_t bytes) {
    if (c_->add_charge(c_, name, bytes) != RT_OK) {
      throw Refusal("the host refused a charge", RT_INVALID);
    }
  }
  void explain(const std::string& sentence) { c_->explain(c_, sentence.c_str()); }

 private:
  rt_plan_sink* c_;
};

using PlanCandidates = std::span<const rt_plan_candidate* const>;

// The signatures are exact, as those of operators: a capacity of another type would be converted
// and a negative one become a huge one.
template <class P>
concept has_plan = requires {
  static_cast<void (*)(const PlanProblem&, PlanSink&)>(&P::plan);
};
template <class P>
concept has_capacity = requires {
  static_cast<std::uint64_t (*)(const PlanProblem&, std::uint32_t, const rt_plan_sequence&)>(
      &P::capacity);
};
template <class P>
concept has_choose = requires {
  static_cast<std::uint32_t (*)(const PlanProblem&, const PlanCandidates&, PlanSink&)>(&P::choose);
};

// What `options` points to outlives the planner.
template <class P>
constexpr rt_planner planner(const char* name, const char* summary,
                             std::span<const rt_attr_spec* const> options = {}) {
  static_assert(has_plan<P>, "expected `static void plan(const PlanProblem&, PlanSink&)`");
  static_assert(has_capacity<P>,
                "expected `static std::uint64_t capacity(const PlanProblem&, std::uint32_t, "
                "const rt_plan_sequence&)`");
  rt_planner out{};
  out.struct_size = sizeof(rt_planner);
  out.option_count = static_cast<std::uint32_t>(options.size());
  out.name = name;
  out.summary = summary;
  out.options = options.data();
  out.plan = [](const rt_host* host, const rt_plan_problem* problem, rt_plan_sink* sink) {
    return guard(host, [&] {
      PlanSink answer(sink);
      P::plan(PlanProblem(problem), answer);
    });
  };
  out.capacity = [](const rt_host* host, const rt_plan_problem* problem, std::uint32_t class_index,
                    std::uint32_t count, const rt_plan_sequence* const* sequences,
                    std::uint64_t* capacities) {
    return guard(host, [&] {
      const PlanProblem view(problem);
      for (std::uint32_t i = 0; i < count; ++i) {
        capacities[i] = P::capacity(view, class_index, *sequences[i]);
      }
    });
  };
  return out;
}

template <class P>
constexpr rt_planner choosing_planner(const char* name, const char* summary,
                                      std::span<const rt_attr_spec* const> options = {}) {
  static_assert(has_choose<P>,
                "expected `static std::uint32_t choose(const PlanProblem&, const "
                "PlanCandidates&, PlanSink&)`");
  struct NoLayout {
    static void plan(const PlanProblem&, PlanSink&) {
      throw Refusal("expected to be asked to choose among planners; it has no layout of its own");
    }
    static std::uint64_t capacity(const PlanProblem&, std::uint32_t, const rt_plan_sequence&) {
      throw Refusal("expected to be asked to choose among planners; it has no layout of its own");
    }
  };
  rt_planner out = planner<NoLayout>(name, summary, options);
  out.choose = [](const rt_host* host, const rt_plan_problem* problem, std::uint32_t count,
                  const rt_plan_candidate* const* candidates, rt_plan_sink* sink,
                  std::uint32_t* chosen) {
    return guard(host, [&] {
      PlanSink answer(sink);
      *chosen = P::choose(PlanProblem(problem), PlanCandidates(candidates, count), answer);
    });
  };
  return out;
}

}  // namespace rt::sdk
