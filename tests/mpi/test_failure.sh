#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Jobs in which one rank fails: each must end soon, with a non-zero code and a sentence that names the rank.
set -u
program=${1:-${ENTRAIN_BINARY_DIR:-.}/tests/mpi_program_failure}
catch_program=${2:-${ENTRAIN_BINARY_DIR:-.}/tests/mpi_mpi}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
failures=0

# ends <mode> <ranks> <seconds allowed> <extended regular expression that must appear>
ends() {
  local begin=$SECONDS
  timeout -k 5 40 "${MPIEXEC:-mpirun}" -n "$2" "$program" "$1" > "$log" 2>&1
  local code=$? took=$((SECONDS - begin)) wrong=""
  [ "$code" -eq 0 ] && wrong="code 0"
  [ "$took" -gt "$3" ] && wrong="$wrong it took $took s of $3"
  grep -Eq "$4" "$log" || wrong="$wrong no line matches: $4"
  if [ -n "$wrong" ]; then
    echo "FAILED $1 on $2 ranks (code $code, $took s):$wrong"
    sed 's/^/    /' "$log"
    failures=$((failures + 1))
  else
    echo "ok $1 on $2 ranks: code $code, $took s"
  fi
}

if ! timeout 40 "${MPIEXEC:-mpirun}" -n 2 "$program" nothing; then
  echo "FAILED: a job without a failure does not end with code 0"
  exit 1
fi

disk='rank 1 of [24]: the disk of this rank is full'
ends throw 4 10 "$disk"
ends throw 2 10 "$disk"
ends run_main 4 10 "$disk"
ends in_flight 4 10 "$disk"
ends unwind 4 10 'passing on: the disk of this rank is full'
ends unwind 2 10 'rank 1 of 2: an exception is leaving the scope of comm::mpi'
ends swallowed 4 10 'rank 1 of 4: communication has failed'
ends truncated 2 10 'rank 1 of 2: comm::mpi rank 1 of 2: .*failed: .*TRUNCATE'

others='ranks 0, 1, 3 called'  # deadline 2 s, and 5 s more
ends operation 4 7 "checked (all_reduce|broadcast) #2: rank 2 called broadcast of 10 f32 where $others all_reduce of 10 f32"
ends count 4 7 "checked all_reduce #2: rank 2 called all_reduce of 11 f32 where $others all_reduce of 10 f32"
ends type 4 7 "checked all_reduce #2: rank 2 called all_reduce of 10 f64 where $others all_reduce of 10 f32"
ends root 4 7 "checked broadcast #2: rank 2 called broadcast of 10 f32 with root 1 where $others broadcast of 10 f32 with root 0"
ends reduction 4 7 "checked all_reduce #2: rank 2 called all_reduce of 10 f32 \(maximum\) where $others all_reduce of 10 f32 \(sum\)"
ends missing 4 7 'checked all_reduce #2: rank 2 did not arrive within 2 s; it was last seen in all_reduce of 10 f32 #1'
ends receive 4 7 'checked rank 2 of 4: receive of 10 f32 from rank 3 with tag 7 did not complete within 2 s'

# The MPI tests' own main: a rank that fails ends the job and says where.
program=$catch_program
ends '[one_rank_requires]' 3 10 'rank 1 of 3: FAILED at .*test_mpi.cpp'
ends '[one_rank_throws]' 3 10 'here: thrown in a test'
ends '[one_rank_checks]' 3 10 'rank 1 of 3: FAILED at .*test_mpi.cpp'

[ "$failures" -eq 0 ]
