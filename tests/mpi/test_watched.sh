#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Jobs in which one rank errs, in the ways of program_watched.cpp: comm::watched must name the rank and what it did within its
# deadline of 1 s and 5 s more, the job must end with a non-zero code, and no process may be left.
#
#   test_watched.sh                 some of them
#   test_watched.sh all             all 50
#   test_watched.sh N ...           these
#   test_watched.sh soak [SECONDS]  no failure at all, for 10 minutes: nobody may be blamed
set -u
program=${ENTRAIN_WATCHED_PROGRAM:-${ENTRAIN_BINARY_DIR:-.}/tests/mpi_program_watched}
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
seconds_allowed=${ENTRAIN_WATCHED_SECONDS:-6}
# On a busy machine starting and ending an MPI job takes its time, too.
overhead=3

# one N: runs scenario N, leaves its verdict in $logs/N.
one() {
  local n=$1 ranks name pattern how=() code begin took wrong=""
  IFS=$'\t' read -r ranks name pattern < <("$program" expect "$n")
  # Every other lost process is left to comm::watched alone: mpirun is told not to mind, and then its own code says nothing.
  if [ $((n % 2)) -eq 0 ]; then
    case $name in kill | quit | exit_code) how=(--mca orte_abort_on_non_zero_status 0 --mca orte_enable_recovery 1) ;; esac
  fi
  begin=$(date +%s%N)
  timeout -k 5 40 "${MPIEXEC:-mpirun}" ${how[@]+"${how[@]}"} -n "$ranks" "$program" run "$n" >"$logs/$n.out" 2>&1
  code=$?
  took=$((($(date +%s%N) - begin) / 1000000))
  [ "$code" -ne 0 ] || [ ${#how[@]} -gt 0 ] || wrong="code 0;"
  [ "$took" -le $(((seconds_allowed + overhead) * 1000)) ] || wrong="$wrong it took $took ms;"
  grep -Eq "$pattern" "$logs/$n.out" || wrong="$wrong no line matches: $pattern"
  if [ -n "$wrong" ]; then
    { echo "FAILED $n ($name on $ranks ranks, code $code, $took ms): $wrong"; sed 's/^/    /' "$logs/$n.out"; } >"$logs/$n.verdict"
    touch "$logs/failed"
  else
    echo "ok $n: $name on $ranks ranks, code $code, $took ms" >"$logs/$n.verdict"
  fi
  cat "$logs/$n.verdict"
}

if [ "${1:-}" = soak ]; then
  "${MPIEXEC:-mpirun}" -n 3 "$program" soak "${2:-600}" >"$logs/soak" 2>&1
  code=$?
  cat "$logs/soak"
  [ "$code" -eq 0 ] && ! grep -q watched "$logs/soak"
  exit
fi
case ${1:-some} in
  some) numbers="0 15 8 27 13 14 17 33" ;;
  all) numbers=$(seq 0 49) ;;
  *) numbers=$* ;;
esac
for n in $numbers; do
  while [ "$(jobs -rp | wc -l)" -ge 2 ]; do wait -n; done
  one "$n" &
done
wait
count=$(ls "$logs" | grep -c verdict)
echo "$(grep -l '^ok' "$logs"/*.verdict | wc -l) of $count named"
if [ "${1:-some}" = some ]; then  # a trace, and a short run in which nothing is wrong
  "${MPIEXEC:-mpirun}" -n 3 "$program" trace "$logs/run.json" && python3 - "$logs/run.json" <<'EOF' || touch "$logs/failed"
import json, sys
slices = [e for e in json.load(open(sys.argv[1]))["traceEvents"] if e["ph"] == "X"]
barriers = [e for e in slices if e["name"].startswith("barrier")]
names = {e["name"] for e in barriers}
assert len(names) == 20 and len(barriers) == 60, (len(names), len(barriers))
for name in names:
    same = [e for e in barriers if e["name"] == name]
    assert {e["pid"] for e in same} == {0, 1, 2}
    assert max(e["ts"] for e in same) <= min(e["ts"] + e["dur"] for e in same), name
print(len(slices), "slices, aligned")
EOF
  "${MPIEXEC:-mpirun}" -n 3 "$program" soak 2 2>&1 | tee "$logs/soak"
  grep -q 'nobody was blamed' "$logs/soak" && ! grep -q 'watched rank' "$logs/soak" || touch "$logs/failed"
fi
[ ! -e "$logs/failed" ]
