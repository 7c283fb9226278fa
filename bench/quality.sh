#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Known tasks with known results: tiny Shakespeare (nanoGPT's CPU setting, at most 1.88) and MNIST's test images (at least 98 %).
# builds: quality
#
# The data is looked for in $ENTRAIN_DATA, else ../shared/data: text/tinyshakespeare.txt and mnist/t10k-*. Takes about five
# minutes on two cores.
set -euo pipefail
data=${ENTRAIN_DATA:-$ENTRAIN_SOURCE_DIR/../shared/data}
program=$ENTRAIN_BENCH_DIR/quality
export OMP_NUM_THREADS=1
run() { mpirun --oversubscribe --timeout 1500 -n "$@"; }
if [ -f "$data/text/tinyshakespeare.txt" ]; then
  run 2 "$program" gpt "$data/text/tinyshakespeare.txt"
else
  echo "no $data/text/tinyshakespeare.txt: skipped"
fi
if [ -d "$data/mnist" ]; then
  run 1 "$program" mnist "$data/mnist"
  run 4 "$program" mnist "$data/mnist"
else
  echo "no $data/mnist: skipped"
fi
