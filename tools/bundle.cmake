# The bundle: what a machine with a GPU needs, in one archive that runs from any folder.
#
#   cmake --build build --target bundle      (build/runtime-VERSION-linux-x86_64.tar.gz)
#
# The command with its plugins, graphs and configs as `cmake --install` lays them out, and the
# component `bundle`: the programs that tools/gpu_check runs, its parts, their models, and in
# lib/runtime/deps the shared libraries of this system but for those of C and C++, which would want a
# newer glibc than the programs do. Built on Debian 12 it starts on Ubuntu 22.04. CUDA's runtime is
# inside the plugins; the driver and libcublasLt are looked for when a plugin is first asked.
set(programs operators_test gpu_test bench_planners bench_device)
foreach(program runtime ${programs})
  # DT_RPATH and not DT_RUNPATH: it holds for the libraries of the libraries too (fmt of spdlog).
  set_target_properties(${program} PROPERTIES INSTALL_RPATH "$ORIGIN/../lib/runtime/deps")
  target_link_options(${program} PRIVATE -Wl,--disable-new-dtags)
endforeach()
install(TARGETS ${programs} RUNTIME_DEPENDENCY_SET bundled
  RUNTIME DESTINATION bin COMPONENT bundle EXCLUDE_FROM_ALL)
install(RUNTIME_DEPENDENCY_SET bundled
  PRE_EXCLUDE_REGEXES "^lib(c|m|dl|rt|pthread|stdc\\+\\+|gcc_s)\\.so" "^ld-linux"
  LIBRARY DESTINATION lib/runtime/deps COMPONENT bundle EXCLUDE_FROM_ALL)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/tests/fixtures DESTINATION share/runtime
  COMPONENT bundle EXCLUDE_FROM_ALL)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/tools/check DESTINATION share/runtime
  COMPONENT bundle EXCLUDE_FROM_ALL FILES_MATCHING PATTERN "*.py")
install(PROGRAMS ${PROJECT_SOURCE_DIR}/tools/gpu_check DESTINATION .
  COMPONENT bundle EXCLUDE_FROM_ALL)

set(CPACK_GENERATOR TGZ)
set(CPACK_PACKAGE_FILE_NAME runtime-${PROJECT_VERSION}-linux-${CMAKE_SYSTEM_PROCESSOR})
set(CPACK_STRIP_FILES ON)
set(CPACK_ARCHIVE_COMPONENT_INSTALL OFF)
set(CPACK_INSTALL_CMAKE_PROJECTS
  "${PROJECT_BINARY_DIR};runtime;Unspecified;/;${PROJECT_BINARY_DIR};runtime;bundle;/")
include(CPack)
add_custom_target(bundle COMMAND ${CMAKE_CPACK_COMMAND} WORKING_DIRECTORY ${PROJECT_BINARY_DIR})
add_dependencies(bundle runtime runtime_plugins ${programs})
