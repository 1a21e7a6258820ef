/* Start-up code that kills the process: what code for another processor would do. */
__attribute__((constructor)) static void trap_at_start(void) {
  __builtin_trap();
}
