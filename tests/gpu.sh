#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Everything that wants a GPU, in one go: compiles the tests of tests/device with nvcc, runs them on the card, runs them again under
# compute-sanitizer, and runs the benchmarks of bench/device, alone and against their peers where a Python with PyTorch is found
# ($ENTRAIN_PEER_PYTHON, else python3). Needs nvcc and a GPU; within 10 minutes on 16 cores: what no time is left for says so.
#
#   tests/gpu.sh              all of that
#   tests/gpu.sh --compile [TEST...]   compiles and links only (all, or those tests), for sm_80 and sm_90: what needs no GPU. In both forms
#                             ENTRAIN_CUDA_ARCHS="80 90" names other architectures; a run takes the card's own where it is not set.
#   tests/gpu.sh --pack       (with apt) unpacks Catch2 into .gpu, for a machine that has neither it nor apt; with pip also the headers of
#                             cuDNN's front end. Where they and cuDNN are found ($CUDNN_FRONTEND_ROOT names another folder that has
#                             include/cudnn_frontend.h), attention is tested a second time through cuDNN, and the benchmarks use it.
#
# Results: build/gpu/results.txt, one line a test, and what the benchmarks print.
set -euo pipefail
cd "$(dirname "$0")/.."

mode=run only=()
case ${1:-} in
  --compile) mode=compile only=("${@:2}") ;;
  --pack) mode=pack ;;
  -h | --help) sed -n '4,18s/^# \{0,1\}//p' "$0"; exit 0 ;;
  '') ;;
  *) echo "tests/gpu.sh takes --compile or --pack, not '$1'" >&2; exit 2 ;;
esac

if [ $mode = pack ]; then
  mkdir -p .gpu && cd .gpu
  apt-get download catch2 && dpkg -x catch2_*.deb . && rm -f catch2_*.deb
  python3 -m pip download -q --no-deps -d . nvidia-cudnn-frontend && python3 - << 'END' || echo "no front end of cuDNN: attention runs on our own kernels"
import glob, os, zipfile
for wheel in glob.glob("nvidia_cudnn_frontend-*.whl"):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall("cudnn_frontend", [name for name in archive.namelist() if name.startswith("include/")])
    os.remove(wheel)
END
  exit 0
fi

nvcc=${NVCC:-$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)}
if [ ! -x "$nvcc" ]; then echo "no nvcc: skipped"; exit 77; fi
found=
for place in /usr/include .gpu/usr/include; do [ -f $place/catch2/catch.hpp ] && found=$place && break; done
if [ -z "$found" ]; then echo "no Catch2: install it, or run tests/gpu.sh --pack where apt is and carry .gpu along" >&2; exit 1; fi

catch=()
[ $found = /usr/include ] || catch=(-isystem $found)

archs=${ENTRAIN_CUDA_ARCHS:-}
[ $mode = run ] || archs=${archs:-80 90}
targets=()
for arch in $archs; do
  case $arch in
    [0-9][0-9]*) targets+=(-gencode "arch=compute_$arch,code=sm_$arch") ;;
    *) echo "ENTRAIN_CUDA_ARCHS takes architectures such as \"80 90\", not '$arch'" >&2; exit 2 ;;
  esac
done
[ ${#targets[@]} -gt 0 ] || targets=(-arch=native)
out=build/gpu
mkdir -p $out
jobs=${ENTRAIN_JOBS:-$(nproc)}
flags=(-std=c++20 -O3 --expt-relaxed-constexpr -Xcompiler -Wall,-Wextra -Werror all-warnings -diag-suppress 1675,186 -Iinclude -Itests "${catch[@]}" -DENTRAIN_SOURCE_DIR="\"$PWD\"")
libraries=(-lcublasLt -lz)
[ -e /usr/include/zlib.h ] || libraries=(-lcublasLt)

printf '#define CATCH_CONFIG_MAIN\n#include <catch2/catch.hpp>\n' > $out/main.cpp
[ -f $out/main.o ] || g++ -std=c++20 -O1 "${catch[@]}" -c $out/main.cpp -o $out/main.o

nccl=no
if echo '#include <nccl.h>' | "$nvcc" -E -x cu - > /dev/null 2>&1; then nccl=yes; fi
uses_nccl() { grep -q 'entrain/comm/nccl' "$1"; }
# cuDNN: its header, its library and its front end, or nothing of it. Without JSON the front end compiles far sooner.
cudnn_flags=() cudnn_libraries=()
for place in ${CUDNN_FRONTEND_ROOT:+"$CUDNN_FRONTEND_ROOT/include"} .gpu/cudnn_frontend/include /usr/local/include /usr/include; do
  if [ -f "$place/cudnn_frontend.h" ] && printf '#include <cudnn.h>\nint main() { return cudnnGetVersion() == 0; }\n' > $out/has_cudnn.cpp &&
    "$nvcc" $out/has_cudnn.cpp -o $out/has_cudnn -lcudnn -lnvrtc > /dev/null 2>&1; then
    cudnn_flags=(-DENTRAIN_CUDNN=1 -DCUDNN_FRONTEND_SKIP_JSON_LIB -isystem "$place") cudnn_libraries=(-lcudnn -lnvrtc)
    break
  fi
done
[ ${#cudnn_flags[@]} -gt 0 ] || echo "no cuDNN with its front end: attention runs on our own kernels alone"

missing() {  # what the source needs and this machine lacks
  if [ $nccl = no ] && uses_nccl "$1"; then echo "skipped, no NCCL: $1"; return 0; fi
  return 1
}

name_of() { basename "${1/.cpp/}"; }
compile() {  # source or source+cudnn, program, what else to link
  local source=${1%+cudnn} program=$2
  shift 2
  if uses_nccl "$source"; then set -- "$@" -lnccl; fi
  if [[ $program = *+cudnn || $source = *.cu ]]; then set -- "$@" "${cudnn_flags[@]}" "${cudnn_libraries[@]}"; fi
  if ! "$nvcc" "${flags[@]}" "${targets[@]}" -x cu "$source" -o "$program" "$@" "${libraries[@]}" > "$program.log" 2>&1; then
    echo "does not compile: $source"
    sed 's/^/    /' "$program.log" | head -30
    return 1
  fi
}

tests=() benches=()
for source in tests/device/test_*.cpp; do
  head -5 "$source" | grep -q 'entrain-test:.*emulated' || missing "$source" || tests+=("$source")
done
# Our own kernels are tested in programs without cuDNN.
if [ ${#cudnn_flags[@]} -gt 0 ]; then tests+=(tests/device/test_attention.cpp+cudnn); fi
for source in bench/device/*.cu; do [ ! -f "$source" ] || missing "$source" || benches+=("$source"); done
if [ ${#only[@]} -gt 0 ]; then
  tests=() benches=()
  for name in "${only[@]}"; do if [[ $name = *+cudnn ]]; then tests+=("tests/device/${name%+cudnn}.cpp+cudnn"); else tests+=("tests/device/$name.cpp"); fi; done
fi

echo "== compile ${#tests[@]} tests and ${#benches[@]} benchmarks, $jobs at a time"
failed=0 running=0
for source in "${tests[@]}"; do
  # -x cu applies to what follows it: the object of Catch2's main function is linked as it is.
  compile "$source" "$out/$(name_of "$source")" -Xlinker $out/main.o &
  if [ $((++running)) -ge "$jobs" ]; then wait -n || failed=1; running=$((running - 1)); fi
done
for source in "${benches[@]}"; do
  compile "$source" "$out/$(basename "$source" .cu)" &
  if [ $((++running)) -ge "$jobs" ]; then wait -n || failed=1; running=$((running - 1)); fi
done
while [ $running -gt 0 ]; do wait -n || failed=1; running=$((running - 1)); done
[ $failed = 0 ] || exit 1
if [ $mode = compile ]; then echo "== compiled and linked; nothing was run"; exit 0; fi

nvidia-smi -L || { echo "no GPU: compiled only"; exit 77; }
: > $out/results.txt
for source in "${tests[@]}"; do
  name=$(name_of "$source")
  if timeout 120 $out/"$name" > $out/"$name".out 2>&1; then line="passed  $name"; else line="FAILED  $name"; failed=1; fi
  echo "$line: $(tail -2 $out/"$name".out | head -1)" | tee -a $out/results.txt
  case $line in FAILED*) grep -A12 'FAILED:' $out/"$name".out | head -60 ;; esac
done
# Several ranks on one GPU, by NCCL over sockets: an answer, yes or no, is a result.
if [ -x $out/nccl_one_gpu ] && [ $nccl = yes ]; then
  if timeout 90 $out/nccl_one_gpu 40 > $out/nccl_one_gpu.out 2>&1; then line="passed "; else line="FAILED "; failed=1; fi
  echo "$line nccl_one_gpu" | tee -a $out/results.txt
  cat $out/nccl_one_gpu.out | tee -a $out/results.txt
fi
if command -v compute-sanitizer >/dev/null; then
  for source in "${tests[@]}"; do
    [[ $source != *+cudnn ]] || continue  # its kernels are not ours
    name=$(name_of "$source")
    if timeout 150 compute-sanitizer --error-exitcode 9 $out/"$name" > $out/"$name".sanitizer 2>&1; then line="clean   $name"; else line="FAILED  $name (compute-sanitizer)"; failed=1; fi
    echo "$line" | tee -a $out/results.txt
  done
else
  echo "no compute-sanitizer: skipped" | tee -a $out/results.txt
fi
# name, most seconds, command: within what is left of the 10 minutes
bench() {
  local name=$1 most=$2 left=$((590 - SECONDS)) code=0
  shift 2
  echo "== $name" | tee -a $out/results.txt
  if [ $left -lt 30 ]; then echo "no time is left: skipped; run $*" | tee -a $out/results.txt; return; fi
  timeout $((left < most ? left : most)) "$@" 2>&1 | tee -a $out/results.txt || code=${PIPESTATUS[0]}
  case $code in
    0 | 77) ;;
    124) echo "was cut short after $((left < most ? left : most)) s" | tee -a $out/results.txt; failed=1 ;;
    *) failed=1 ;;
  esac
}
for source in "${benches[@]}"; do
  name=$(basename "$source" .cu)
  [ $name = nccl_one_gpu ] || bench "$name" 120 $out/"$name"
done
bench "top_k against PyTorch" 60 bench/device/top_k.sh
bench "steps as graphs" 30 $out/gpt2 --graph
bench "gpt2 against PyTorch" 110 bench/device/gpt2.sh --budget 85
exit $failed
