# find_package(runtime_sdk): the target runtime::sdk (include path only) and rt_add_plugin(). Paths
# are relative to this file, so an installed prefix may be moved.
get_filename_component(runtime_sdk_prefix "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
if(NOT TARGET runtime::sdk)
  add_library(runtime::sdk INTERFACE IMPORTED)
  set_target_properties(runtime::sdk PROPERTIES
    INTERFACE_INCLUDE_DIRECTORIES "${runtime_sdk_prefix}/include/runtime")
endif()
include("${CMAKE_CURRENT_LIST_DIR}/rt_plugin.cmake")
