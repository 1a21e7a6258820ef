/* From a later minor, whose structs have grown: accepted, the new fields are not looked at. */
#define CASE_NAME "large_struct"
#define CASE_ENTRY                                         \
  static struct {                                          \
    rt_plugin old;                                         \
    uint64_t added[8];                                     \
  } grown = {.added = {0xdeadbeefu, 1, 2, 3, 4, 5, 6, 7}}; \
  grown.old = plugin;                                      \
  grown.old.struct_size = sizeof grown;                    \
  return &grown.old;
#include "planner.h"
