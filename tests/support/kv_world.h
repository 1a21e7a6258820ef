// A KV store on the CPU device beside the same store on paper, with rows whose content says whose
// they are: what a property test drives, and compares after every call.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <concepts>
#include <cstring>
#include <map>
#include <random>

#include "core/memory/kv_store.h"
#include "core/memory/paper_device.h"
#include "core/plugin/host.h"
#include "core/sdk/kv.hpp"
#include "core/sdk/planner.hpp"
#include "tests/support/models.h"

namespace rt::test {

struct PlannerCase {
  std::string name;
  std::vector<Option> options;
};

template <std::integral Number>
Option option(const std::string& name, Number value) {
  return {name, static_cast<std::int64_t>(value)};
}

// The `doubling` of docs/PLUGINS.md: plain contiguous tensors that move, also for several
// sequences, which then share a layout that depends on the capacity. No planner of ours does that.
struct Doubling {
  static void plan(const sdk::PlanProblem& problem, sdk::PlanSink& sink) {
    for (sdk::PlanClass& plan_class : problem.classes_by_window()) {
      plan_class.growth = RT_GROW_MOVE;
      sink.add(plan_class);
    }
  }
  static std::uint64_t capacity(const sdk::PlanProblem& problem, std::uint32_t,
                                const rt_plan_sequence& sequence) {
    auto room = static_cast<std::uint64_t>(problem.options().integer("first"));
    while (room < sequence.tokens) room *= 2;
    return std::max(std::min(room, problem.context()), sequence.capacity_tokens);
  }
};

inline const rt_planner& doubling() {
  static constexpr rt_attr_spec kFirst = sdk::int_attr_or("first", 256, 1, 1 << 20, "tokens");
  static constexpr const rt_attr_spec* kOptions[] = {&kFirst};
  static constexpr rt_planner kDoubling =
      sdk::planner<Doubling>("doubling", "room doubles when it is full", kOptions);
  return kDoubling;
}

// The plan of `doubling` or of a planner of this build, or the refusal.
inline Result<KvPlan> plan_with(const PlannerCase& planner, const KvProblem& problem) {
  if (planner.name == doubling().name) {
    static const PluginHost host("acme_doubling");
    return KvPlan::make(doubling(), host.c(), take_fail_text, problem, planner.options);
  }
  RT_TRY(const Planner found, registry().planner(planner.name));
  return KvPlan::make(*found.c, found.host, take_fail_text, problem, planner.options);
}

// The CPU device that once in a while, when `failing_in` reaches 1, refuses to give memory or to
// take it back, and with none that is made ready: what it is asked for only stands in the ledger.
inline std::uint64_t failing_in = 0;
inline bool refuses_now() {
  return failing_in > 0 && --failing_in == 0;
}
inline const rt_device& unreliable(const rt_device& real) {
  static const rt_device* reliable = nullptr;
  static rt_device api;
  reliable = &real;
  api = real;
  api.allocate = [](void* device, std::uint64_t bytes, void** address) {
    return refuses_now() ? rt_status{RT_NO_MEMORY} : reliable->allocate(device, bytes, address);
  };
  api.commit = [](void* device, void* address, std::uint64_t bytes) {
    return refuses_now() ? rt_status{RT_NO_MEMORY} : reliable->commit(device, address, bytes);
  };
  api.decommit = [](void* device, void* address, std::uint64_t bytes) {
    return refuses_now() ? rt_status{RT_NO_MEMORY} : reliable->decommit(device, address, bytes);
  };
  api.make_ready = [](void*, std::uint64_t) { return rt_status{RT_OK}; };
  return api;
}

inline std::unique_ptr<OpenDevice> open_cpu(const KvProblem& problem, std::uint64_t limit_bytes) {
  auto device = registry().device("cpu");
  EXPECT_TRUE(device.ok());
  auto options = complete_options("cpu", {}, {device->c->options, device->c->option_count});
  EXPECT_TRUE(options.ok());
  const OptionList list(*options);
  rt_device_desc desc{};
  desc.struct_size = sizeof desc;
  EXPECT_EQ(device->c->describe(device->host, 0, static_cast<std::uint32_t>(list.view().size()),
                                list.view().data(), &desc),
            RT_OK);
  desc.granule_bytes = problem.granule_bytes;
  desc.alignment_bytes = problem.alignment_bytes;
  desc.can_reserve = problem.can_reserve ? 1 : 0;
  desc.can_make_ready = problem.can_make_ready ? 1 : 0;
  auto open = OpenDevice::open(unreliable(*device->c), desc, list.view(), device->host,
                               take_fail_text, limit_bytes);
  EXPECT_TRUE(open.ok());
  return std::move(open).value();
}

class KvWorld {
 public:
  using Slot = KvStore::Slot;

  // Without a limit the store on paper follows every call. may_fail: calls may be refused half way.
  explicit KvWorld(KvPlan plan, std::uint64_t limit_bytes = UINT64_MAX, bool may_fail = false)
      : plan_(std::move(plan)),
        limited_(limit_bytes != UINT64_MAX || may_fail),
        may_fail_(may_fail) {
    cpu_ = open_cpu(plan_.problem(), limit_bytes);
    paper_ = open_paper_device(plan_.problem()).value();
    store_ = KvStore::make(*cpu_, plan_).value();
    on_paper_ = KvStore::make(*paper_, plan_).value();
  }

  const KvPlan& plan() const { return plan_; }
  KvStore& store() { return *store_; }
  const Ledger& ledger() const { return cpu_->ledger(); }
  // Without what is ready for the next commits.
  std::uint64_t kv_bytes() const { return ledger().now()[MemoryKind::kKv] - cpu_->ready_bytes(); }
  std::uint64_t ready_bytes() const { return cpu_->ready_bytes(); }
  const std::map<Slot, std::vector<std::uint64_t>>& sequences() const { return tokens_; }
  std::uint64_t length(Slot slot) const { return tokens_.at(slot).size(); }

  Slot add(std::uint64_t budget) {
    const Slot slot = store_->add(budget);
    if (!limited_) {
      EXPECT_EQ(on_paper_->add(budget), slot);
    }
    tokens_[slot] = {};
    return slot;
  }

  void remove(Slot slot) {
    store_->remove(slot);
    if (!limited_) on_paper_->remove(slot);
    tokens_.erase(slot);
  }

  // A fork, unless the limit refuses it.
  void fork(Slot from, std::uint64_t budget) {
    const MemoryBytes before = ledger().now();
    auto slot = store_->fork(from, budget);
    if (!slot.ok()) return expect_untouched(slot.error(), before);
    if (!limited_) {
      EXPECT_EQ(on_paper_->fork(from, budget).value(), *slot);
    }
    tokens_[*slot] = tokens_[from];
  }

  // Writes `count` new tokens to each of `slots`, unless the limit refuses.
  void step(const std::vector<Slot>& slots, std::uint64_t count) {
    std::vector<KvStore::Demand> demands;
    for (const Slot slot : slots) {
      const std::uint64_t room = plan_.problem().context_tokens - length(slot);
      if (room > 0) demands.push_back({slot, length(slot) + std::min(count, room)});
    }
    const MemoryBytes before = ledger().now();
    const Status made = store_->make_room(demands);
    if (!made.ok()) return expect_untouched(made.error(), before);
    if (!limited_) {
      EXPECT_TRUE(on_paper_->make_room(demands).ok());
    }
    for (const KvStore::Demand& demand : demands) write(demand);
  }

  void truncate(Slot slot, std::uint64_t n) {
    const std::uint64_t left = store_->truncate(slot, n);
    if (!limited_) {
      EXPECT_EQ(on_paper_->truncate(slot, n), left);
    }
    EXPECT_TRUE(left == n || left == 0);
    tokens_[slot].resize(left);
  }

  void set_budget(Slot slot, std::uint64_t budget) {
    store_->set_budget(slot, budget);
    if (!limited_) on_paper_->set_budget(slot, budget);
  }

  void trim() {
    const Status trimmed = store_->trim();
    if (may_fail_ && !trimmed.ok()) {
      EXPECT_EQ(trimmed.error().fault, Fault::kEnvironment) << trimmed.error().message;
      return;
    }
    EXPECT_TRUE(trimmed.ok());
    if (!limited_) {
      EXPECT_TRUE(on_paper_->trim().ok());
    }
  }

  // Plan (on paper), ledger and resident pages are one number; every visible row is as written.
  void check() {
    if (!limited_) {
      const Ledger& paper = paper_->ledger();
      EXPECT_EQ(ledger().now().by_kind, paper.now().by_kind);
      EXPECT_EQ(ledger().peak().by_kind, paper.peak().by_kind);
      EXPECT_EQ(ready_bytes(), paper_->ready_bytes());
      EXPECT_EQ(ledger().reserved_bytes(), paper.reserved_bytes());
      EXPECT_EQ(ledger().events.copied_bytes, paper.events.copied_bytes);
      EXPECT_EQ(ledger().events.address_changes, paper.events.address_changes);
      EXPECT_EQ(ledger().events.commits, paper.events.commits);
      EXPECT_EQ(ledger().events.decommits, paper.events.decommits);
    }
    std::uint64_t resident = 0;
    for (const auto& [address, bytes] : store_->ranges()) {
      resident += cpu_->resident(address, bytes).value();
    }
    EXPECT_EQ(resident, kv_bytes());
    EXPECT_EQ(ledger().now()[MemoryKind::kStep], plan_.table_bytes());
    for (const auto& [slot, tokens] : tokens_) check_rows(slot, tokens);
  }

 private:
  void expect_untouched(const Error& error, const MemoryBytes& before) {
    EXPECT_TRUE(limited_) << error.message;
    EXPECT_EQ(error.fault, Fault::kEnvironment) << error.message;
    if (!may_fail_) {
      EXPECT_EQ(ledger().now().by_kind, before.by_kind) << error.message;
    }
  }

  void write(const KvStore::Demand& demand) {
    std::vector<std::uint64_t>& tokens = tokens_[demand.slot];
    for (std::uint64_t t = tokens.size(); t < demand.tokens; ++t) {
      tokens.push_back(++last_stamp_);
      each_row(demand.slot, t, [&](unsigned char* row, std::uint64_t stamp) {
        std::memcpy(row, &stamp, sizeof stamp);
      });
    }
    store_->advance(demand.slot, demand.tokens);
    if (!limited_) on_paper_->advance(demand.slot, demand.tokens);
  }

  // Calls visit(row, what it should hold) for K and V of every layer that can see token t.
  template <class Visit>
  void each_row(Slot slot, std::uint64_t t, Visit&& visit) {
    for (std::uint32_t layer = 0; layer < plan_.problem().layers.size(); ++layer) {
      const std::uint32_t window = plan_.problem().layers[layer].window;
      const std::uint64_t next = length(slot);
      if (window > 0 && t + window <= next) continue;
      const rt_kv_layout layout = store_->layout(layer);
      const std::uint64_t base = store_->base(layout.class_index, slot);
      const std::uint64_t table = store_->table(layout.class_index, slot);
      std::vector<std::uint64_t> bases(plan_.classes().size(), base);
      std::vector<std::uint64_t> tables(plan_.classes().size(), table);
      rt_step step{};
      step.sequences = 1;
      step.kv_bases = bases.data();
      step.kv_tables = tables.data();
      for (const sdk::KvStream stream : {sdk::kKeys, sdk::kValues}) {
        visit(sdk::kv_row(layout, step, 0, t, stream),
              tokens_[slot][t] * 1000 + layer * 2 + stream);
      }
    }
  }

  void check_rows(Slot slot, const std::vector<std::uint64_t>& tokens) {
    std::uint64_t wrong = 0;
    for (std::uint64_t t = 0; t < tokens.size(); ++t) {
      each_row(slot, t, [&](const unsigned char* row, std::uint64_t expected) {
        std::uint64_t found = 0;
        std::memcpy(&found, row, sizeof found);
        wrong += found != expected;
      });
    }
    EXPECT_EQ(wrong, 0u) << "rows of slot " << slot << ", " << tokens.size() << " tokens";
  }

  KvPlan plan_;
  bool limited_;
  bool may_fail_;
  std::unique_ptr<OpenDevice> cpu_;
  std::unique_ptr<OpenDevice> paper_;
  std::unique_ptr<KvStore> store_;
  std::unique_ptr<KvStore> on_paper_;
  std::map<Slot, std::vector<std::uint64_t>> tokens_;  // what each sequence's rows should say
  std::uint64_t last_stamp_ = 0;
};

}  // namespace rt::test
