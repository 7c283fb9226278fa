#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
#   bench/run.sh              lists the benchmarks
#   bench/run.sh NAME [...]   builds (Release, for this processor) and runs one; further arguments go to it
#
# bench/NAME.cpp is a program; bench/NAME.sh, where it exists, is run instead and may drive several programs: it gets
# ENTRAIN_BENCH_DIR (the compiled programs), ENTRAIN_SOURCE_DIR, and ENTRAIN_PEER_PYTHON (a Python with PyTorch) if its
# text mentions that variable. Results are lines "value <name> <x>" and "ratio <name> <x>" (higher is better for us).
set -euo pipefail
cd "$(dirname "$0")/.."

describe() { sed -n '2,12s,^\(//\|#\) *\(bench[^:]*: \)\?,,p' "$1" | grep -v -e SPDX -e '^$' | head -n 1; }
list() {
  shopt -s nullglob
  for file in bench/*.cpp bench/*.sh; do
    name=$(basename "${file%.*}")
    case $file in bench/run.sh | bench/compile_*.cpp) continue ;; bench/*.cpp) [ ! -e "bench/$name.sh" ] || continue ;; esac
    printf '%-14s %s\n' "$name" "$(describe "$file")"
  done
}

# The peer: $ENTRAIN_PEER_PYTHON if set, else the newest PyTorch that pip brings, else Debian's. Prints its Python's path last.
peer_python() {
  local python=$PWD/build/peer/bin/python
  if [ -n "${ENTRAIN_PEER_PYTHON:-}" ]; then echo "$ENTRAIN_PEER_PYTHON"; return; fi
  if [ -x "$python" ] && "$python" -c 'import torch' 2>/dev/null; then echo "$python"; return; fi
  echo "installing the peer: PyTorch in build/peer" >&2
  cmake/install_packages.sh python3-venv python3-pip >&2 || true
  local pip=$PWD/build/peer/bin/pip
  if python3 -m venv build/peer >&2 &&
    "$pip" install --quiet torch numpy >&2 && "$python" -c 'import torch' >&2; then
    echo "$python"
    return
  fi
  echo "pip brought no PyTorch; taking Debian's" >&2
  cmake/install_packages.sh python3-torch python3-numpy >&2
  echo /usr/bin/python3
}

if [ $# -eq 0 ]; then list; exit 0; fi
name=$1
shift
[ -e "bench/$name.cpp" ] || [ -e "bench/$name.sh" ] || { echo "there is no benchmark named '$name'; there are:" >&2; list >&2; exit 2; }

cmake/install_packages.sh g++ cmake ninja-build libopenmpi-dev openmpi-bin libdnnl-dev libboost-dev zlib1g-dev libgloo-dev? ccache?
mkdir -p build
export ENTRAIN_SOURCE_DIR=$PWD ENTRAIN_BENCH_DIR=$PWD/build/bench/bench
export OMPI_MCA_hwloc_base_binding_policy=none OMPI_MCA_btl_vader_single_copy_mechanism=none OMPI_MCA_rmaps_base_oversubscribe=1
if [ "$(id -u)" -eq 0 ]; then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi

# Built first: the program of the same name, and what a script names in a line "# builds: NAME NAME".
targets=()
[ ! -e "bench/$name.cpp" ] || targets+=("bench_$name")
if [ -e "bench/$name.sh" ]; then
  while read -r target; do targets+=("$target"); done < <(sed -n 's/^# builds: *//p' "bench/$name.sh" | tr ' ' '\n' | sed 's/^/bench_/')
fi
if [ ${#targets[@]} -gt 0 ]; then
  echo "building ${targets[*]} ..." >&2
  cmake --preset release -B build/bench -DENTRAIN_BUILD_TESTS=OFF -DENTRAIN_BUILD_EXAMPLES=OFF -Wno-dev >build/bench.log 2>&1 &&
    cmake --build build/bench --target "${targets[@]}" --parallel 2 >>build/bench.log 2>&1 || { cat build/bench.log >&2; exit 1; }
fi

if [ ! -e "bench/$name.sh" ]; then exec "$ENTRAIN_BENCH_DIR/$name" "$@"; fi
if grep -q ENTRAIN_PEER_PYTHON "bench/$name.sh"; then
  ENTRAIN_PEER_PYTHON=$(peer_python | tail -n 1)
  export ENTRAIN_PEER_PYTHON
  # Debian's OpenBLAS takes new processors for old ones; this name is the right one for all with AVX-512.
  if grep -q -m1 avx512f /proc/cpuinfo; then export OPENBLAS_CORETYPE=${OPENBLAS_CORETYPE:-SKYLAKEX}; fi
fi
exec bash "bench/$name.sh" "$@"
