/* The library that missing_library.c is linked with and does not find. */
__attribute__((visibility("default"))) int acme_gone(void);
int acme_gone(void) {
  return 1;
}
