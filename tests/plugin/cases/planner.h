/* The smallest whole planner plugin, for cases that break one thing of it: define CASE_NAME (and
 * what is to be different), include this. */
#include <stddef.h>

#include "core/sdk/plugin.h"

#ifndef CASE_ABI
#define CASE_ABI "0.1"
#endif
#ifndef CASE_MIN_HOST
#define CASE_MIN_HOST "0.1"
#endif
#ifndef CASE_PLANNER
#define CASE_PLANNER "roomy"
#endif
#ifndef CASE_STRUCT_SIZE
#define CASE_STRUCT_SIZE sizeof(rt_plugin)
#endif
#ifndef CASE_ABI_MAJOR
#define CASE_ABI_MAJOR RT_ABI_MAJOR
#endif
#ifndef CASE_MORE_MANIFEST
#define CASE_MORE_MANIFEST ""
#endif

static rt_status plan(const rt_host* host, const rt_plan_problem* problem, rt_plan_sink* sink) {
  (void)problem;
#ifdef CASE_PLAN
  CASE_PLAN
#endif
  sink->explain(sink, "roomy: nothing to plan");
  (void)host;
  return RT_OK;
}

static rt_status capacity(const rt_host* host, const rt_plan_problem* problem, uint32_t class_index,
                          uint32_t sequence_count, const rt_plan_sequence* const* sequences,
                          uint64_t* capacities) {
  (void)host;
  (void)class_index;
  (void)sequences;
  for (uint32_t i = 0; i < sequence_count; ++i) capacities[i] = problem->context_tokens;
  return RT_OK;
}

static const rt_planner planner = {.struct_size = sizeof(rt_planner),
                                   .name = "roomy",
                                   .summary = "room for everything",
                                   .plan = plan,
                                   .capacity = capacity};
static const rt_planner* const planners[] = {&planner};

RT_MANIFEST("plugin: " CASE_NAME
            "\n"
            "version: 1.0\n"
            "abi: " CASE_ABI
            "\n"
            "min_host: " CASE_MIN_HOST
            "\n"
            "planner: " CASE_PLANNER "\n" CASE_MORE_MANIFEST);

static const rt_plugin plugin = {.struct_size = CASE_STRUCT_SIZE,
                                 .abi_major = CASE_ABI_MAJOR,
                                 .abi_minor = 1,
                                 .min_host_minor = 1,
                                 .name = CASE_NAME,
                                 .version = "1.0",
                                 .planner_count = 1,
                                 .planners = planners};

#ifndef CASE_ENTRY
#define CASE_ENTRY return &plugin;
#endif

const rt_plugin* rt_plugin_entry_v1(const rt_host* host, const char* library_path) {
  (void)host;
  (void)library_path;
  (void)plugin;
  CASE_ENTRY
}
