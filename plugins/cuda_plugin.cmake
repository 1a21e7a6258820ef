# rt_add_cuda_plugin(name SOURCES glue.cc ... [CUDA kernels.cu ...])
#
# Builds the plugin where nvcc was found, and in any case keeps the list of its sources:
# tests/cuda_emulation builds the same files for a GPU that is emulated. Kernels are named relative to
# kernels/cuda.
function(rt_add_cuda_plugin name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;CUDA")
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
  rt_kernel_objects(objects kernel_ ${arg_CUDA})
  rt_add_plugin(${name} SOURCES ${sources} ${objects} LINK CUDA::cudart_static)
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR})
endfunction()

# rt_kernel_objects(out prefix kernels.cu ...)
#
# What the kernels compile to, once for all plugins that have them: decode's products are in six.
function(rt_kernel_objects out prefix)
  set(objects "")
  foreach(file ${ARGN})
    cmake_path(GET file STEM stem)
    set(target ${prefix}${stem})
    if(NOT TARGET ${target})
      add_library(${target} OBJECT ${PROJECT_SOURCE_DIR}/kernels/cuda/${file})
      set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE ON
        CUDA_VISIBILITY_PRESET hidden CXX_VISIBILITY_PRESET hidden)
      target_compile_features(${target} PRIVATE cxx_std_20)
      target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR})
    endif()
    list(APPEND objects $<TARGET_OBJECTS:${target}>)
  endforeach()
  set(${out} ${objects} PARENT_SCOPE)
endfunction()
