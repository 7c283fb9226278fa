#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Nothing but a C++20 compiler and -I include: no MPI, no oneDNN, no zlib, no build system.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${CXX:-g++}" -std=c++20 -pthread -I "$ENTRAIN_SOURCE_DIR/include" "$ENTRAIN_SOURCE_DIR/tests/consumers/consumer.cpp" -o "$folder/consumer"
"$folder/consumer"
if ldd "$folder/consumer" | grep -E 'mpi|dnnl|libz'; then echo "the plain program links what it should not need"; exit 1; fi
