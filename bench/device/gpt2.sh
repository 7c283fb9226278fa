#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The training step of GPT-2 124M against compiled PyTorch, in turns on one card. Wants the program that tests/gpu.sh compiles and a
# Python with PyTorch ($ENTRAIN_PEER_PYTHON, else python3). Arguments go to gpt2.py: --batches 32 64, --vocabulary 50257, --budget SECONDS.
set -euo pipefail
cd "$(dirname "$0")/../.."

program=build/gpu/gpt2 python=${ENTRAIN_PEER_PYTHON:-python3}
[ -x $program ] || { echo "there is no $program: tests/gpu.sh compiles it" >&2; exit 1; }
"$python" -c 'import torch' 2>/dev/null || { echo "$python has no PyTorch: skipped (ENTRAIN_PEER_PYTHON names one that has)"; exit 77; }
exec "$python" bench/device/gpt2.py --against $program "$@"
