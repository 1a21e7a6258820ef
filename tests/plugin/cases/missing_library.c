/* Needs libacme_gone.so, which is where no loader looks. */
#define CASE_NAME "missing_library"
int acme_gone(void);
#define CASE_ENTRY return acme_gone() == 1 ? &plugin : NULL;
#include "planner.h"
