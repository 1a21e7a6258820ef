/* A shared library that is no plugin of ours. */
__attribute__((visibility("default"))) int acme_answer(void);
int acme_answer(void) {
  return 42;
}
