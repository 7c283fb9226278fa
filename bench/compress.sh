#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Every compressor on 16 MiB of fp32 and one core: against memcpy, exact selection, and PyTorch doing the same
#
# bench/run.sh gives ENTRAIN_PEER_PYTHON, a Python with PyTorch. Arguments go to the program: names of policies, --rounds N, --alone.
set -euo pipefail
exec env OMP_NUM_THREADS=1 ENTRAIN_PEER_PYTHON="$ENTRAIN_PEER_PYTHON" "$ENTRAIN_BENCH_DIR/compress" "$@"
