/* Built with a newer SDK that added a key, and content with this host: accepted... but for its
 * descriptor, which has to say the same minor. */
#define CASE_NAME "newer_sdk"
#define CASE_ABI "0.7"
#define CASE_MORE_MANIFEST "later_key: value\n"
#define CASE_ENTRY        \
  static rt_plugin newer; \
  newer = plugin;         \
  newer.abi_minor = 7;    \
  return &newer;
#include "planner.h"
