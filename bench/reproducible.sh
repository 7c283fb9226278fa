#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The reproducible all-reduce against MPI_Allreduce on 2 and 4 processes (wanted: at least 0.67 from 1 MiB on)
# builds: reproducible
set -euo pipefail
for p in 2 4; do mpirun -n "$p" "$ENTRAIN_BENCH_DIR/reproducible" "$@"; done
