#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# entrain-test: slow
#
# The benchmarks of bench/device, compiled with CUDA emulated on the processor, in tiny sizes: all of them run, the model learns. Where
# $ENTRAIN_PEER_PYTHON has PyTorch, the peers take turns with them, and the losses of the two must be close.
set -euo pipefail
cd "${ENTRAIN_SOURCE_DIR:-.}"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

for name in kernels compress gpt2; do
  "${CXX:-g++}" -std=c++20 -O1 -Wall -Wextra -Werror -Wno-psabi -pthread -Itests/device/emulated -Iinclude -x c++ bench/device/$name.cu -o "$folder/$name"
  "$folder/$name" --check > "$folder/$name.txt" || { cat "$folder/$name.txt"; exit 1; }
  echo "$name: $(grep -c '^value ' "$folder/$name.txt") values"
  if grep -iE '^value .*(nan|inf)' "$folder/$name.txt"; then exit 1; fi
done
grep -q '^value adamw_mixed_share_of_copy ' "$folder/kernels.txt"
grep -q '^value sign_encode_share_of_copy ' "$folder/compress.txt"
grep -q '^losses ' "$folder/gpt2.txt"

# NCCL is emulated among threads, so that its processes do not meet: what remains is that they end in time and say so.
"${CXX:-g++}" -std=c++20 -O1 -Wall -Wextra -Werror -pthread -Itests/device/emulated -Iinclude -x c++ bench/device/nccl_one_gpu.cu -o "$folder/nccl_one_gpu"
timeout 30 "$folder/nccl_one_gpu" 2 > "$folder/nccl_one_gpu.txt"
[ "$(grep -c '^answer: . ranks of comm::nccl on one GPU with distinct NCCL_HOSTID: no$' "$folder/nccl_one_gpu.txt")" = 2 ]

"$folder/gpt2" --check --graph | grep -q '^ratio graph_small_gpt '
if printf 'no such thing\n' | "$folder/compress" --check --serve > /dev/null 2>&1; then echo "an unknown compressor was measured"; exit 1; fi
python=${ENTRAIN_PEER_PYTHON:-}
if [ -n "$python" ] && "$python" -c 'import torch' 2>/dev/null; then
  export PYTHONDONTWRITEBYTECODE=1
  "$python" bench/device/gpt2.py --check --eager --rounds 1 --steps 1 --against "$folder/gpt2"
  "$python" bench/device/top_k.py --check --rounds 1 --against "$folder/compress"
fi
