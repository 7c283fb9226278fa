# SPDX-License-Identifier: Apache-2.0
#
# How our own tests, examples and benchmarks are compiled; nothing here reaches a user of the library.
#
#   entrain_program(<target> SOURCES ... [PARTS mpi onednn ...])   an executable with our warnings and options, linked to
#                                                                  entrain::entrain and those of the parts that were found

find_program(ENTRAIN_CCACHE ccache)
mark_as_advanced(ENTRAIN_CCACHE)
if(ENTRAIN_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime ${ENTRAIN_CCACHE})
endif()

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release)
endif()

set(CMAKE_CXX_EXTENSIONS OFF)
add_library(entrain_options INTERFACE)
# An error only where tests are built: a reader who runs an example with another compiler should see it run.
target_compile_options(entrain_options INTERFACE -Wall -Wextra -Wpedantic -Wshadow $<$<BOOL:${ENTRAIN_BUILD_TESTS}>:-Werror>)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # g++ 12 sees reads of uninitialised memory and overruns where it cannot follow std::vector and std::string (GCC PR 105329, 105651).
  target_compile_options(entrain_options INTERFACE -Wno-error=maybe-uninitialized -Wno-error=restrict -Wno-error=stringop-overflow -Wno-error=array-bounds)
  # A tenth of the time that g++ takes goes into freeing memory that it could keep (kilobytes; a translation unit takes about 1 GB).
  target_compile_options(entrain_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:--param=ggc-min-heapsize=1500000>)
endif()
if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  target_compile_options(entrain_options INTERFACE -Wno-pass-failed)  # a loop that the sanitizers keep from becoming vector arithmetic is no error
endif()
# Square roots need not report errors through errno: without this no loop with one becomes vector arithmetic.
target_compile_options(entrain_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-fno-math-errno>)
if(ENTRAIN_NATIVE)
  target_compile_options(entrain_options INTERFACE -march=native)
endif()
if(NOT ENTRAIN_ASSERT_LEVEL STREQUAL "")
  target_compile_definitions(entrain_options INTERFACE ENTRAIN_ASSERT_LEVEL=${ENTRAIN_ASSERT_LEVEL})
endif()
if(ENTRAIN_SANITIZE)
  target_compile_options(entrain_options INTERFACE -fsanitize=${ENTRAIN_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(entrain_options INTERFACE -fsanitize=${ENTRAIN_SANITIZE})
endif()

function(entrain_link target)
  target_link_libraries(${target} PRIVATE entrain::entrain entrain_options)
  foreach(part IN LISTS ARGN)
    if(TARGET entrain::${part})
      target_link_libraries(${target} PRIVATE entrain::${part})
    endif()
  endforeach()
endfunction()

function(entrain_program target)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;PARTS")
  add_executable(${target} ${arg_SOURCES})
  entrain_link(${target} ${arg_PARTS})
endfunction()

# The environment that every program runs in under CTest: threads do not multiply with ranks, and Open MPI accepts more
# ranks than cores, the root user of a container, and a kernel without cross-memory attach.
set(entrain_run_environment OMP_NUM_THREADS=1 OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
  OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_hwloc_base_binding_policy=none
  OMPI_MCA_btl_vader_single_copy_mechanism=none UBSAN_OPTIONS=print_stacktrace=1)
set(entrain_mpi_environment "")
if(ENTRAIN_SANITIZE MATCHES "address")
  list(APPEND entrain_mpi_environment ASAN_OPTIONS=detect_leaks=0)  # Open MPI and its plug-ins leak at exit
endif()

# entrain_mpi_command(<out> <ranks> <program> [arguments...]): the command line that starts the program on so many ranks.
function(entrain_mpi_command out ranks)
  if(NOT DEFINED CACHE{ENTRAIN_OPEN_MPI})
    execute_process(COMMAND ${MPIEXEC_EXECUTABLE} --version OUTPUT_VARIABLE text ERROR_QUIET)
    string(REGEX MATCH "Open MPI|OpenRTE" open_mpi "${text}")
    set(ENTRAIN_OPEN_MPI "${open_mpi}" CACHE INTERNAL "mpiexec is Open MPI's")
  endif()
  if(ENTRAIN_OPEN_MPI)
    set(${out} ${MPIEXEC_EXECUTABLE} --oversubscribe --allow-run-as-root --timeout 100 -n ${ranks} ${ARGN} PARENT_SCOPE)
  else()
    set(${out} ${MPIEXEC_EXECUTABLE} ${MPIEXEC_NUMPROC_FLAG} ${ranks} ${ARGN} PARENT_SCOPE)
  endif()
endfunction()
