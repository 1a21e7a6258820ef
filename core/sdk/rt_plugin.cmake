# rt_kernel_sources(target [AVX2 k.cc ...] [AVX512 k.cc ...] [AVX512_BF16 k.cc] [AVX512_VNNI k.cc])
#
# Adds files to a target, each compiled for its group's instruction set and no other:
#
#   AVX2          avx2,fma,f16c                           (the words of an implementation's `isa`)
#   AVX512        avx512f,avx512bw,avx512dq,avx512vl
#   AVX512_BF16   the same and avx512_bf16
#   AVX512_VNNI   the same as AVX512 and avx512_vnni,avx512_vbmi
#
# They may hold intrinsics and plain functions only (see sdk.hpp).
function(rt_kernel_sources target)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "AVX2;AVX512;AVX512_BF16;AVX512_VNNI")
  set(avx512 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mf16c)
  if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)  # its own headers trip it (GCC bug 105593, fixed in 13)
    list(APPEND avx512 -Wno-uninitialized -Wno-maybe-uninitialized)
  endif()
  set(options_AVX2 -mavx2 -mfma -mf16c)
  set(options_AVX512 ${avx512})
  set(options_AVX512_BF16 ${avx512} -mavx512bf16)
  set(options_AVX512_VNNI ${avx512} -mavx512vnni -mavx512vbmi)
  foreach(group AVX2 AVX512 AVX512_BF16 AVX512_VNNI)
    target_sources(${target} PRIVATE ${arg_${group}})
    set_source_files_properties(${arg_${group}} PROPERTIES
      COMPILE_OPTIONS "${options_${group}}")
  endforeach()
endfunction()

# rt_add_plugin(name SOURCES a.cc b.cc [AVX2 k.cc] [AVX512 k.cc] [AVX512_BF16 k.cc]
#               [AVX512_VNNI k.cc] [CUDA k.cu] [LINK lib ...])
#
# Builds lib/runtime/plugins/<name>.rtp.so (outside this tree: <build>/<name>.rtp.so) with hidden
# symbols, one exported function, no undefined symbols, resolved at load. Files under AVX2 and so on
# are as in rt_kernel_sources. Files under CUDA need enable_language(CUDA); CUDA's runtime is linked
# statically and libcuda is not linked at all, so the plugin can be opened, and refuses with a reason,
# where there is no driver. Works in this tree and, through find_package(runtime_sdk), outside it.
function(rt_add_plugin name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "OUTPUT_DIRECTORY"
    "SOURCES;AVX2;AVX512;AVX512_BF16;AVX512_VNNI;CUDA;LINK")
  add_library(${name} MODULE ${arg_SOURCES} ${arg_CUDA})
  rt_kernel_sources(${name} AVX2 ${arg_AVX2} AVX512 ${arg_AVX512}
    AVX512_BF16 ${arg_AVX512_BF16} AVX512_VNNI ${arg_AVX512_VNNI})
  if(arg_CUDA)
    set_target_properties(${name} PROPERTIES CUDA_RUNTIME_LIBRARY Static
      CUDA_VISIBILITY_PRESET hidden LINKER_LANGUAGE CXX)
    find_package(CUDAToolkit REQUIRED)
    list(APPEND arg_LINK CUDA::cudart_static)
  endif()
  set(script ${CMAKE_CURRENT_BINARY_DIR}/${name}.exports)
  file(WRITE ${script} "{ global: rt_plugin_entry_v1; local: *; };\n")
  if(CMAKE_CXX_COMPILER_LOADED)  # a plugin may be all C
    target_compile_features(${name} PRIVATE cxx_std_20)
  endif()
  # Outside this tree the headers come from the installed package instead.
  if(EXISTS ${PROJECT_SOURCE_DIR}/core/sdk/abi.h)
    target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR})
  endif()
  target_link_libraries(${name} PRIVATE ${arg_LINK} $<TARGET_NAME_IF_EXISTS:runtime::sdk>)
  target_link_options(${name} PRIVATE -Wl,--version-script=${script} -Wl,-z,now)
  if(NOT RUNTIME_SANITIZE)
    # A sanitizer's runtime is in the executable, so its symbols are undefined here by design.
    target_link_options(${name} PRIVATE -Wl,-z,defs)
  endif()
  if(NOT arg_OUTPUT_DIRECTORY AND NOT RUNTIME_PLUGIN_DIR)  # outside this tree
    set(arg_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
  endif()
  if(NOT arg_OUTPUT_DIRECTORY)
    set(arg_OUTPUT_DIRECTORY ${RUNTIME_PLUGIN_DIR})
    if(TARGET runtime_plugins)  # one of the runtime's own
      add_dependencies(runtime_plugins ${name})
      install(TARGETS ${name} LIBRARY DESTINATION lib/runtime/plugins)
    endif()
  endif()
  set_target_properties(${name} PROPERTIES PREFIX "" SUFFIX ".rtp.so"
    CXX_VISIBILITY_PRESET hidden C_VISIBILITY_PRESET hidden POSITION_INDEPENDENT_CODE ON
    LIBRARY_OUTPUT_DIRECTORY ${arg_OUTPUT_DIRECTORY})
endfunction()
