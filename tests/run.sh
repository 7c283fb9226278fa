#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Installs what is missing, builds the tests and runs them; ends with CTest's summary.
#
#   tests/run.sh                      everything
#   tests/run.sh --fast               the fast tier
#   tests/run.sh --sanitize address   under the address and undefined-behaviour sanitizers
#   tests/run.sh --sanitize thread    the tests on threads under the thread sanitizer
#   tests/run.sh -R comm              further arguments go to ctest
set -euo pipefail
cd "$(dirname "$0")/.."

preset=dev
select=()
while [ $# -gt 0 ]; do
  case $1 in
    --fast) select+=(-L fast) ;;
    --sanitize)
      case ${2:-} in
        address) preset=asan ;;
        thread) preset=tsan ;;
        *) echo "--sanitize takes address or thread, not '${2:-}'" >&2; exit 2 ;;
      esac
      shift ;;
    -h | --help) sed -n '4,10s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) break ;;
  esac
  shift
done

cmake/install_packages.sh g++ cmake ninja-build libopenmpi-dev openmpi-bin libdnnl-dev libboost-dev catch2 zlib1g-dev python3 \
  strace pkg-config ccache? clang? libomp-dev? libclang-rt-dev?
jobs=${ENTRAIN_JOBS:-2}

# Under the sanitizers clang++ compiles in a third of the time of g++, and sees more that is undefined; g++ has the tests themselves.
if [ "$preset" != dev ] && [ -z "${CXX:-}" ]; then
  probe=$(mktemp)
  flag=$([ "$preset" = tsan ] && echo thread || echo address,undefined)
  if echo 'int main() {}' | clang++ -fsanitize="$flag" -x c++ - -o "$probe" 2>/dev/null; then export CXX=clang++; fi
  rm -f "$probe"
fi

echo "== configure (build/$preset)"
cmake --preset "$preset" -Wno-dev | grep -E '^-- entrain::|warning' || true
echo "== build"
cmake --build --preset "$preset" --parallel "$jobs"
echo "== test"
# Address space randomisation with many bits is more than the sanitizers of these compilers can map around.
run=()
if [ "$preset" = tsan ] && command -v setarch >/dev/null && setarch -R true 2>/dev/null; then run=(setarch -R); fi
exec "${run[@]}" ctest --preset "$preset" --parallel "$jobs" "${select[@]}" "$@"
