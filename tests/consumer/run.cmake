# SPDX-License-Identifier: Apache-2.0
# Installs procession to PREFIX, or builds a consumer against it, and runs it.
#   cmake -D SOURCE=… -D WORK=… -D PREFIX=… -D CXX=… -D BUILD_TYPE=… -D SHARED=ON|OFF
#     -D STEP=install|package|pkg-config|source -P run.cmake

function(run)
  execute_process(COMMAND ${ARGN} COMMAND_ECHO STDOUT COMMAND_ERROR_IS_FATAL ANY)
endfunction()

function(output_of variable)
  execute_process(COMMAND ${ARGN} OUTPUT_VARIABLE text OUTPUT_STRIP_TRAILING_WHITESPACE
    COMMAND_ERROR_IS_FATAL ANY)
  separate_arguments(text UNIX_COMMAND "${text}")
  set(${variable} ${text} PARENT_SCOPE)
endfunction()

set(project ${SOURCE}/tests/consumer/project)
# The library is built as in the build around, whose objects ccache has.
if(NOT STEP MATCHES "^(install|source)$")
  set(BUILD_TYPE Debug)
endif()
set(configure ${CMAKE_COMMAND} -G Ninja -D CMAKE_CXX_COMPILER=${CXX} -D CMAKE_BUILD_TYPE=${BUILD_TYPE}
  -D BUILD_SHARED_LIBS=${SHARED})
file(REMOVE_RECURSE ${WORK})

if(STEP STREQUAL install)
  file(REMOVE_RECURSE ${PREFIX})
  run(${configure} -S ${SOURCE} -B ${WORK} -D CMAKE_INSTALL_PREFIX=${PREFIX}
    -D PROCESSION_TESTS=OFF -D PROCESSION_EXAMPLES=OFF)
  run(${CMAKE_COMMAND} --build ${WORK})
  run(${CMAKE_COMMAND} --install ${WORK})
  # What isn't installed must not be included by what is.
  file(GLOB_RECURSE headers ${PREFIX}/include/*.hpp)
  foreach(header IN LISTS headers)
    file(STRINGS ${header} engine REGEX "#include \"(base|os|shm|channel|launch|pool|api)/")
    if(engine)
      message(FATAL_ERROR "${header} includes the engine: ${engine}")
    endif()
  endforeach()
elseif(STEP STREQUAL pkg-config)
  file(GLOB_RECURSE pc ${PREFIX}/*/procession.pc)
  cmake_path(GET pc PARENT_PATH pc_dir)
  cmake_path(GET pc_dir PARENT_PATH lib_dir)
  set(ENV{PKG_CONFIG_PATH} ${pc_dir})
  output_of(cflags pkg-config --cflags procession)
  output_of(libs pkg-config --libs procession)
  file(MAKE_DIRECTORY ${WORK})
  run(${CXX} -std=c++20 -shared -fPIC ${project}/plugin.cpp -o ${WORK}/plugin.so)
  run(${CXX} -std=c++20 ${cflags} -DPLUGIN="${WORK}/plugin.so" ${project}/main.cpp
    ${project}/work.cpp -o ${WORK}/consumer ${libs} -Wl,-rpath,${lib_dir})
  run(${WORK}/consumer)
else()
  run(${configure} -S ${project} -B ${WORK} -D PROCESSION_FROM=${STEP}
    -D CMAKE_PREFIX_PATH=${PREFIX} -D FETCHCONTENT_SOURCE_DIR_PROCESSION=${SOURCE})
  run(${CMAKE_COMMAND} --build ${WORK})
  run(${WORK}/consumer)
endif()
file(REMOVE_RECURSE ${WORK})
