# SPDX-License-Identifier: Apache-2.0
# What procession's public headers include: its own, cereal's and Boost.PFR's. Used in the build and
# by the installed package.

# Sets `variable` to the folder that has `header`, or says what to install.
function(procession_find_header variable header what package)
  find_path(${variable} ${header} DOC "The include directory of ${what}")
  mark_as_advanced(${variable})
  if(NOT ${variable})
    set(message "procession needs the headers of ${what} (${header}; on Debian the package ${package}). "
      "Set ${variable} to the include directory that has them.")
    string(CONCAT message ${message})
    if(CMAKE_FIND_PACKAGE_NAME)
      set(${CMAKE_FIND_PACKAGE_NAME}_FOUND FALSE PARENT_SCOPE)
      set(${CMAKE_FIND_PACKAGE_NAME}_NOT_FOUND_MESSAGE "${message}" PARENT_SCOPE)
    else()
      message(FATAL_ERROR "${message}")
    endif()
  endif()
endfunction()

macro(procession_look_for_headers)
  procession_find_header(PROCESSION_CEREAL_INCLUDE_DIR cereal/cereal.hpp cereal libcereal-dev)
  procession_find_header(PROCESSION_PFR_INCLUDE_DIR boost/pfr.hpp "Boost.PFR (Boost >= 1.75)"
    libboost1.81-dev)
endmacro()

# In the build: the interface target procession_headers.
macro(procession_find_headers)
  procession_look_for_headers()
  add_library(procession_headers INTERFACE)
  set_target_properties(procession_headers PROPERTIES EXPORT_NAME headers)
  target_include_directories(procession_headers INTERFACE
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
    $<INSTALL_INTERFACE:include>)
  target_include_directories(procession_headers SYSTEM INTERFACE
    $<BUILD_INTERFACE:${PROCESSION_CEREAL_INCLUDE_DIR}>
    $<BUILD_INTERFACE:${PROCESSION_PFR_INCLUDE_DIR}>)
endmacro()
