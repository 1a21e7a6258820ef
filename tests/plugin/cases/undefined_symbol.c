/* Linked without -z defs against a function that nobody has. */
#define CASE_NAME "undefined_symbol"
int acme_forgotten(void);
#define CASE_ENTRY return acme_forgotten() == 1 ? &plugin : NULL;
#include "planner.h"
