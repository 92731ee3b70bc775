# SPDX-License-Identifier: Apache-2.0
# What is installed: the headers, the library, the entry, the CMake package, the pkg-config file.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/procession)

install(TARGETS procession procession_main procession_headers
  EXPORT procession-targets
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR}
  INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/procession
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.hpp")
install(EXPORT procession-targets NAMESPACE procession:: DESTINATION ${package_dir})

configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/procession-config.cmake.in
  ${CMAKE_CURRENT_BINARY_DIR}/procession-config.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/procession-config-version.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES
  ${CMAKE_CURRENT_BINARY_DIR}/procession-config.cmake
  ${CMAKE_CURRENT_BINARY_DIR}/procession-config-version.cmake
  ${CMAKE_CURRENT_LIST_DIR}/procession-headers.cmake
  DESTINATION ${package_dir})

# Includes that the compiler doesn't look in anyway.
set(extra_cflags "")
foreach(dir IN ITEMS ${PROCESSION_CEREAL_INCLUDE_DIR} ${PROCESSION_PFR_INCLUDE_DIR})
  if(NOT dir IN_LIST CMAKE_CXX_IMPLICIT_INCLUDE_DIRECTORIES)
    string(APPEND extra_cflags " -isystem ${dir}")
  endif()
endforeach()
cmake_path(RELATIVE_PATH CMAKE_INSTALL_PREFIX
  BASE_DIRECTORY ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig OUTPUT_VARIABLE pc_to_prefix)
configure_file(${CMAKE_CURRENT_LIST_DIR}/procession.pc.in
  ${CMAKE_CURRENT_BINARY_DIR}/procession.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/procession.pc
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
