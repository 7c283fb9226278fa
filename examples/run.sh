#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Installs what is missing, builds one example for this processor and runs it on several MPI ranks.
#
#   examples/run.sh                            quickstart on 4 ranks
#   examples/run.sh mnist_cnn --ranks 2        another example
#   examples/run.sh quickstart --data PATH     with your own data
#   examples/run.sh --list                     the examples there are
#
# Further arguments go to the example.
set -euo pipefail
started_in=$PWD
cd "$(dirname "$0")/.."

name=quickstart
ranks=4
arguments=()
list() { for file in examples/*.cpp; do basename "$file" .cpp; done; }
# A path that the reader typed is meant from where he stands.
absolute() { case $1 in /*) echo "$1" ;; *) echo "$started_in/$1" ;; esac; }

if [ $# -gt 0 ] && [[ $1 != -* ]]; then name=$1; shift; fi
while [ $# -gt 0 ]; do
  case $1 in
    --ranks) ranks=${2:?--ranks needs a number}; shift ;;
    --ranks=*) ranks=${1#*=} ;;
    --data) arguments+=(--data "$(absolute "${2:?--data needs a path}")"); shift ;;
    --data=*) arguments+=(--data "$(absolute "${1#*=}")") ;;
    --list) list; exit 0 ;;
    -h | --help) sed -n '4,11s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) arguments+=("$1") ;;
  esac
  shift
done
[[ $ranks =~ ^[1-9][0-9]*$ ]] || { echo "--ranks takes a positive number, not '$ranks'" >&2; exit 2; }
[ -f "examples/$name.cpp" ] || { echo "there is no example named '$name'; there are:" >&2; list >&2; exit 2; }

cmake/install_packages.sh g++ cmake ninja-build libopenmpi-dev openmpi-bin libdnnl-dev libboost-dev zlib1g-dev ccache?
log=build/examples.log
mkdir -p build
quietly() { "$@" >"$log" 2>&1 || { cat "$log" >&2; exit 1; }; }
echo "building $name ..."
quietly cmake --preset release -B build/examples -DENTRAIN_BUILD_TESTS=OFF -DENTRAIN_BUILD_BENCH=OFF -DENTRAIN_BUILD_EXAMPLES=ON -Wno-dev
quietly cmake --build build/examples --target "$name" --parallel 2

# A program writes its reports where it runs: build/run/<name>.
program=$PWD/build/examples/examples/$name
mkdir -p "build/run/$name"
export ENTRAIN_SOURCE_DIR=$PWD OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
cd "build/run/$name"
if ! command -v mpirun >/dev/null || ! ldd "$program" | grep -q libmpi; then exec "$program" "${arguments[@]}"; fi

# More ranks than cores share them politely; root (in a container) and kernels without cross-memory attach are fine too.
export OMPI_MCA_hwloc_base_binding_policy=none OMPI_MCA_btl_vader_single_copy_mechanism=${OMPI_MCA_btl_vader_single_copy_mechanism:-none}
if [ "$ranks" -gt "$(nproc)" ]; then export OMPI_MCA_mpi_yield_when_idle=1; fi
if [ "$(id -u)" -eq 0 ]; then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
launch=(mpirun -n "$ranks")
if mpirun --version 2>/dev/null | grep -q 'Open MPI'; then launch=(mpirun --oversubscribe -n "$ranks"); fi
exec "${launch[@]}" "$program" "${arguments[@]}"
