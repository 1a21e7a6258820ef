# rt_add_cuda_plugin(name SOURCES glue.cc ... [CUDA kernels.cu ...])
#
# Builds the plugin where nvcc was found, and in any case keeps the list of its sources:
# tests/cuda_emulation builds the same files for a GPU that is emulated. Kernels are named relative to
# kernels/cuda.
function(rt_add_cuda_plugin name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;CUDA")
  list(TRANSFORM arg_CUDA PREPEND ${PROJECT_SOURCE_DIR}/kernels/cuda/)
  set(sources "")
  foreach(source ${arg_SOURCES})
    cmake_path(ABSOLUTE_PATH source NORMALIZE)
    list(APPEND sources ${source})
  endforeach()
  set_property(GLOBAL APPEND PROPERTY RUNTIME_CUDA_PLUGINS ${name})
  set_property(GLOBAL PROPERTY RUNTIME_CUDA_SOURCES_${name} ${sources})
  set_property(GLOBAL PROPERTY RUNTIME_CUDA_KERNELS_${name} ${arg_CUDA})
  if(NOT RUNTIME_HAS_CUDA)
    return()
  endif()
  rt_add_plugin(${name} SOURCES ${sources} CUDA ${arg_CUDA} LINK CUDA::cudart_static)
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR})
endfunction()
