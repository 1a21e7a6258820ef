"""What tools/gpu_check runs and writes down; it lies in the bundle as share/runtime/check."""
