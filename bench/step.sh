#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The training step of two GPTs against PyTorch, in turns, one thread a rank; the share of the processor's peak
# builds: step
#
# bench/run.sh gives ENTRAIN_PEER_PYTHON, a Python with PyTorch. Arguments go to the program: small, gpt2, ranks, --rounds N.
set -euo pipefail
exec env OMP_NUM_THREADS=1 ENTRAIN_PEER_PYTHON="$ENTRAIN_PEER_PYTHON" "$ENTRAIN_BENCH_DIR/step" "$@"
