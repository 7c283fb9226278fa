#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Collectives in shared memory against MPI's own and gloo's, on 2 and on 4 processes; the share of the memory's bandwidth
#
# Arguments go to the program: --quick, --largest BYTES, --seconds S (time for one size of one collective).
set -euo pipefail
unset OMPI_MCA_btl_vader_single_copy_mechanism  # MPI at its best: it may read the other process's memory
for ranks in 2 4; do
  mpirun -n "$ranks" "$ENTRAIN_BENCH_DIR/allreduce" "$@"
done
