#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A consumer with a .cu file: find_package with the component cuda and CMAKE_CUDA_ARCHITECTURES, nothing else said. And architectures that
# are too old, which CMake may choose where nobody chooses, are refused in one sentence.
set -euo pipefail
nvcc=${CUDACXX:-$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)}
[ -x "$nvcc" ] || { echo "no nvcc: skipped"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cmake --install "$ENTRAIN_BINARY_DIR" --prefix "$folder/prefix" >/dev/null

mkdir "$folder/project"
cp "$ENTRAIN_SOURCE_DIR/tests/consumers/consumer_cuda.cu" "$folder/project"
cat >"$folder/project/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.25)
project(consumer LANGUAGES CXX CUDA)
find_package(entrain 0.1 REQUIRED COMPONENTS cuda)
add_executable(consumer consumer_cuda.cu)
target_link_libraries(consumer PRIVATE entrain::cuda)
END
configure() {
  cmake -G Ninja -S "$folder/project" -B "$1" -DCMAKE_CXX_COMPILER="${CXX:-g++}" -DCMAKE_CUDA_COMPILER="$nvcc" -DCMAKE_CUDA_HOST_COMPILER="$(command -v g++)" \
    -DCMAKE_PREFIX_PATH="$folder/prefix" -DCMAKE_CUDA_ARCHITECTURES="$2" >"$folder/log" 2>&1 || { cat "$folder/log"; exit 1; }
}
configure "$folder/build" "80;90"
cmake --build "$folder/build" --verbose >"$folder/log" 2>&1 || { cat "$folder/log"; exit 1; }
for expected in 'code=\[compute_80,sm_80\]' 'code=\[compute_90,sm_90\]' '-std=c++20'; do
  grep -q -e "$expected" "$folder/log" || { echo "nvcc was not given $expected:"; cat "$folder/log"; exit 1; }
done
"$folder/build/consumer"

configure "$folder/old" 75
if cmake --build "$folder/old" >"$folder/log" 2>&1; then echo "an architecture without bfloat16 was accepted"; exit 1; fi
grep -q "entrain's kernels need compute capability 8.0 or more" "$folder/log" || { echo "refused without the sentence:"; cat "$folder/log"; exit 1; }
