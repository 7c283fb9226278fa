#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Kills a program at every system call by which it saves a checkpoint, and makes every such call fail: afterwards the old
# or the new state must load, bit for bit, and the next save must work. Needs strace; without it the test is skipped.
set -u
program=${1:-${ENTRAIN_BINARY_DIR:-.}/tests/checkpoint_program_crash}
if ! command -v strace > /dev/null; then
  echo "skipped: strace is not installed (apt-get install strace)"
  exit 77
fi
export ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0"  # the leak checker cannot run under strace
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
run="$folder/run" old="$folder/old" log="$folder/log"

if ! strace -o /dev/null true 2> /dev/null; then
  echo "skipped: strace may not trace here"
  exit 77
fi
"$program" save "$old" 1 || { echo "the program cannot save at all"; exit 1; }

fresh() {
  rm -rf "$run" && cp -r "$old" "$run"
}

# The calls of one good save, in order. Only those that concern the checkpoint's files are of interest; -y prints paths.
fresh
calls=openat,mkdir,pwrite64,write,fsync,fdatasync,close,rename,renameat,renameat2,unlink,unlinkat
strace -f -y -e trace=$calls -o "$log" "$program" save "$run" 2 || { echo "the program fails under strace"; exit 1; }

points=0 failures=0 old_states=0 new_states=0
# point CALL NUMBER ACTION EXPECTED_EXIT ('any' allows every one)
point() {
  local call=$1 number=$2 action=$3 expected=$4 code state
  fresh
  { strace -f -o /dev/null -e trace="$call" -e inject="$call:$action:when=$number" "$program" save "$run" 2 > /dev/null; } 2> "$folder/err"
  code=$?
  state=$("$program" check "$run" 2>> "$folder/err")
  points=$((points + 1))
  case $state in
    1) old_states=$((old_states + 1)) ;;
    2) new_states=$((new_states + 1)) ;;
    *) state=none ;;
  esac
  if [ $state = none ] || { [ "$expected" != any ] && [ $code != "$expected" ]; } || { [ $code = 0 ] && [ $state != 2 ]; } ||
    { [ "$action" != signal=SIGKILL ] && ls "$run" | grep -q tmp && [ "$call" != unlink ]; } ||
    ! "$program" save "$run" 3 2>> "$folder/err" || [ "$("$program" check "$run")" != 3 ] || [ "$(ls "$run" | wc -l)" != 1 ]; then
    failures=$((failures + 1))
    echo "FAILED: $action at $call number $number: exit code $code (expected $expected), state $state"
    cat "$folder/err"
  fi
}

for call in ${calls//,/ }; do
  # Numbers, among all calls of this name, of those that touch the checkpoint directory.
  numbers=$(grep -E "^[0-9]+ +$call\(" "$log" | grep -n -F "$run" | cut -d: -f1)
  for number in $numbers; do
    point $call $number signal=SIGKILL 137
    case $call in
      pwrite64 | write)
        point $call $number error=ENOSPC 3
        point $call $number error=EIO 3
        point $call $number error=EINTR 0 ;;
      fsync | fdatasync | rename | renameat | renameat2)
        point $call $number error=EIO 3
        point $call $number error=EINTR 0 ;;
      openat)
        point $call $number error=EIO any # the clean-up after a save may fail in silence
        point $call $number error=EMFILE any ;;
      close | unlink | unlinkat)
        point $call $number error=EIO any ;;
    esac
  done
done

# A genuine short write: the file size limit ends a write in the middle.
fresh
"$program" limited "$run" 2 2> /dev/null
code=$?
points=$((points + 1))
if [ $code != 3 ] || [ "$("$program" check "$run")" != 1 ] || [ "$(ls "$run" | wc -l)" != 1 ]; then
  failures=$((failures + 1))
  echo "FAILED: short write: exit code $code, files: $(ls "$run")"
fi

echo "$points points: $old_states left the old state, $new_states the new one, $failures failed"
[ $failures = 0 ] && [ $points -ge 30 ]
