#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The installed tree by find_package, once as it comes and once with components; and a component that cannot be there.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cmake --install "$ENTRAIN_BINARY_DIR" --prefix "$folder/prefix" >/dev/null

mkdir "$folder/project"
cp "$ENTRAIN_SOURCE_DIR/tests/consumers/consumer.cpp" "$folder/project"
cat >"$folder/project/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.25)
project(consumer LANGUAGES CXX)
find_package(entrain 0.1 REQUIRED COMPONENTS ${PARTS})
add_executable(consumer consumer.cpp)
target_link_libraries(consumer PRIVATE entrain::entrain)
foreach(part IN ITEMS mpi onednn zlib)
  if(TARGET entrain::${part})
    message(STATUS "with ${part}")
    target_link_libraries(consumer PRIVATE entrain::${part})
  endif()
endforeach()
END
try() { cmake -G Ninja -S "$folder/project" -B "$1" -DCMAKE_CXX_COMPILER="${CXX:-g++}" -DCMAKE_PREFIX_PATH="$folder/prefix" "${@:2}"; }
build() { try "$@" >"$folder/log" || { cat "$folder/log"; exit 1; }; cmake --build "$1" >"$folder/log" || { cat "$folder/log"; exit 1; }; "$1/consumer"; }

build "$folder/all"
build "$folder/core" -DENTRAIN_WITH_MPI=OFF -DENTRAIN_WITH_ONEDNN=OFF -DENTRAIN_WITH_ZLIB=OFF -DENTRAIN_WITH_CUDA=OFF
if ldd "$folder/core/consumer" | grep -E 'mpi|dnnl|libz'; then echo "parts that are off are linked"; exit 1; fi
if try "$folder/missing" -DPARTS=mpi -DMPI_CXX_COMPILER=/nonexistent -DCMAKE_DISABLE_FIND_PACKAGE_MPI=TRUE >"$folder/log" 2>&1; then echo "a missing component was accepted"; exit 1; fi
grep -q 'the component mpi needs a library that was not found' <(tr -s '\n ' ' ' <"$folder/log")
# What is installed stands on its own: nothing in it points into the source tree.
if grep -rn "$ENTRAIN_SOURCE_DIR" "$folder/prefix"; then echo "the installed package points into the source tree"; exit 1; fi
