#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# What messages cost on this machine, as a profile that chooses algorithms; --check: how well it predicts
# builds: calibrate
#
# bench/run.sh calibrate [--out PROFILE] [--check] [--quick] [--ranks "2 4"] [--pictures FOLDER]
# --check also measures sizes that the fit does not see (twice the time); --quick is for trying it out.
set -euo pipefail
out=$ENTRAIN_SOURCE_DIR/build/cost_profile.json ranks="2 4" check=() quick=() pictures=()
while [ $# -gt 0 ]; do
  case $1 in
    --out) out=$2; shift ;;
    --ranks) ranks=$2; shift ;;
    --check) check=(--check) ;;
    --quick) quick=(--quick) ;;
    --pictures) pictures=(--pictures "$2"); shift ;;
    *) echo "calibrate: unknown argument $1; there are --out FILE, --ranks \"2 4\", --pictures FOLDER, --check, --quick" >&2; exit 2 ;;
  esac
  shift
done
program=$ENTRAIN_BENCH_DIR/calibrate
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
measure() {  # LABEL ARGUMENT...: a file of times for each communicator and number of ranks
  local p
  for p in $ranks; do
    "$program" measure threads "$p" "${@:2}" "${quick[@]}" >"$work/$1.threads$p"
    if command -v mpirun >/dev/null && grep -q libmpi < <(ldd "$program"); then
      mpirun --oversubscribe -n "$p" "$program" measure mpi "${@:2}" "${quick[@]}" >"$work/$1.mpi$p"
    fi
  done
}
measure 1 "${check[@]}"
"$program" fit --out "$out" "${check[@]}" --doubtful "$work/list" "$work"/1.* >/dev/null
echo "measuring $(wc -l <"$work/list") calls again, for longer" >&2
measure 2 --again "$work/list"
"$program" fit --out "$out" "${check[@]}" "${pictures[@]}" "$work"/[12].*
