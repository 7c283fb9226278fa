#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The source tree by add_subdirectory: the targets are there, and neither our tests nor our warnings come along.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cp "$ENTRAIN_SOURCE_DIR/tests/consumers/consumer.cpp" "$folder"
cat >"$folder/CMakeLists.txt" <<END
cmake_minimum_required(VERSION 3.25)
project(consumer LANGUAGES CXX)
add_subdirectory("$ENTRAIN_SOURCE_DIR" entrain)
add_executable(consumer consumer.cpp)
target_link_libraries(consumer PRIVATE entrain::entrain)
foreach(part IN ITEMS mpi onednn zlib)
  if(TARGET entrain::\${part})
    target_link_libraries(consumer PRIVATE entrain::\${part})
  endif()
endforeach()
if(TARGET entrain_options OR DEFINED CACHE{ENTRAIN_TEST_STRUCTURE})
  message(FATAL_ERROR "entrain brought its own programs along")
endif()
END
cmake -G Ninja -S "$folder" -B "$folder/build" -DCMAKE_CXX_COMPILER="${CXX:-g++}" >"$folder/log" 2>&1 || { cat "$folder/log"; exit 1; }
cmake --build "$folder/build" >"$folder/log" 2>&1 || { cat "$folder/log"; exit 1; }
"$folder/build/consumer"
