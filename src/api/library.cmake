# SPDX-License-Identifier: Apache-2.0
# The C++ front door: the library procession::procession, and the entry that it puts before main().

include(${PROJECT_SOURCE_DIR}/cmake/procession-headers.cmake)
procession_find_headers()

procession_room(api
  api/any_pool.cpp api/bytes.cpp api/connection.cpp api/context.cpp api/entry.cpp api/failure.cpp
  api/family.cpp api/future_state.cpp api/gathering.cpp api/pool_core.cpp api/pool_manager.cpp
  api/pool_worker.cpp api/process.cpp api/process_state.cpp api/queue.cpp api/role_record.cpp api/session_blocks.cpp
  api/shared.cpp api/shared_memory.cpp api/standard_exceptions.cpp api/start.cpp api/synchronize.cpp
  api/task_bytes.cpp)
target_link_libraries(procession_api PRIVATE procession_headers)

# The engine with it, as tests see it that look behind the door.
add_library(procession_behind_api INTERFACE)
target_sources(procession_behind_api INTERFACE $<TARGET_OBJECTS:procession_api>)
target_link_libraries(procession_behind_api INTERFACE
  procession_engine procession_headers ${CMAKE_DL_LIBS})

# Static or shared, as BUILD_SHARED_LIBS says.
set(objects
  $<TARGET_OBJECTS:procession_base> $<TARGET_OBJECTS:procession_os>
  $<TARGET_OBJECTS:procession_shm> $<TARGET_OBJECTS:procession_channel>
  $<TARGET_OBJECTS:procession_launch> $<TARGET_OBJECTS:procession_pool>
  $<TARGET_OBJECTS:procession_api>)
if(NOT BUILD_SHARED_LIBS)
  # One object: a program takes all of it, or none if a shared library that it uses has it already.
  # In pieces it would have some of its own, and two sessions.
  add_custom_command(OUTPUT whole.o
    COMMAND ${CMAKE_CXX_COMPILER} -r -nostdlib -o whole.o ${objects}
    DEPENDS ${objects} COMMAND_EXPAND_LISTS VERBATIM)
  set(objects ${CMAKE_CURRENT_BINARY_DIR}/whole.o)
  set_source_files_properties(${objects} PROPERTIES EXTERNAL_OBJECT ON GENERATED ON)
endif()
add_library(procession ${objects})
add_library(procession::procession ALIAS procession)
target_compile_features(procession PUBLIC cxx_std_20)
target_link_libraries(procession
  PRIVATE Threads::Threads ${CMAKE_DL_LIBS} INTERFACE procession_headers)
set_target_properties(procession PROPERTIES
  VERSION ${PROJECT_VERSION}
  SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR}
  LINKER_LANGUAGE CXX)

# Always static: it calls the program's own main(). Executables only get it, by whatever way they
# come to depend on procession.
add_library(procession_main STATIC main_shim/main.cpp)
add_library(procession::main ALIAS procession_main)
target_link_libraries(procession_main PRIVATE procession_headers INTERFACE procession)
set_target_properties(procession_main PROPERTIES
  POSITION_INDEPENDENT_CODE ON CXX_VISIBILITY_PRESET hidden EXPORT_NAME main)
set(is_executable "$<STREQUAL:$<TARGET_PROPERTY:TYPE>,EXECUTABLE>")
target_link_options(procession INTERFACE
  "$<${is_executable}:LINKER:--wrap=main>" "$<${is_executable}:LINKER:-u,main>")
target_link_libraries(procession INTERFACE "$<${is_executable}:procession::main>")
