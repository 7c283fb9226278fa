#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# entrain-test: slow
#
# The example for GPUs, compiled with CUDA emulated on the processor and run for a few steps. (With nvcc: -DENTRAIN_CUDA=ON.)
set -euo pipefail
cd "${ENTRAIN_SOURCE_DIR:-.}"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${CXX:-g++}" -std=c++20 -O0 -Wall -Wextra -Werror -Wno-psabi -pthread -Itests/device/emulated -Iinclude -x c++ examples/gpt_gpu.cu -o "$folder/gpt_gpu"
ENTRAIN_SOURCE_DIR=$PWD "$folder/gpt_gpu" --smoke | tee "$folder/out"
grep -q '^validation loss [0-9]' "$folder/out"
