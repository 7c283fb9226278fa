#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Two hosts on one machine, each a network namespace with a name and an address of its own, joined by a virtual cable: MPI takes
# them for two nodes. Runs mpi_program_hosts on 2 + 2 and 2 + 1 ranks. Skipped where namespaces are not allowed.
# entrain-test: heavy
set -euo pipefail

# Without root the same in a user namespace of our own, where this is allowed.
if [ "$(id -u)" != 0 ] && [ -z "${ENTRAIN_IN_NAMESPACE:-}" ]; then
  inside='mount -t tmpfs tmpfs /run 2>/dev/null || { echo "skipped: no mounts in a user namespace"; exit 77; }; exec bash "$0"'
  unshare -rnm true 2>/dev/null || { echo "skipped: no user namespaces here"; exit 77; }
  ENTRAIN_IN_NAMESPACE=1 exec unshare -rnm bash -c "$inside" "$0"
fi

program=$ENTRAIN_BINARY_DIR/tests/mpi_program_hosts
skip() { echo "skipped: $*"; exit 77; }
command -v ip >/dev/null || skip "no ip command (package iproute2)"
command -v unshare >/dev/null || skip "no unshare command"
[ -z "${ENTRAIN_SANITIZE:-}" ] || skip "not under sanitizers"

work=$(mktemp -d)
name=entrain$$
clean() { ip netns del "${name}a" 2>/dev/null || true; ip netns del "${name}b" 2>/dev/null || true; rm -rf "$work"; }
trap clean EXIT
for host in a b; do ip netns add "$name$host" 2>"$work/why" || skip "no network namespaces here: $(cat "$work/why")"; done
ip -n "${name}a" link add cable type veth peer name cable netns "${name}b" 2>"$work/why" || skip "no virtual cables here: $(cat "$work/why")"
number=1
for host in a b; do
  ip -n "$name$host" address add 10.77.0.$number/24 dev cable
  ip -n "$name$host" link set cable up
  ip -n "$name$host" link set lo up
  number=$((number + 1))
done

# Runs a command on a host: MPI's launcher calls it in place of ssh with the host's address first.
cat >"$work/on_host" <<EOF
#!/usr/bin/env bash
while [ "\${1#-}" != "\$1" ]; do shift; done
case \$1 in *.1) host=a ;; *) host=b ;; esac
shift
exec ip netns exec ${name}\$host unshare --uts sh -c "hostname entrain-\$host && \$*"
EOF
chmod +x "$work/on_host"

run() {
  echo "== $1 ranks on the first host, $2 on the second"
  timeout 100 "$work/on_host" 10.77.0.1 mpirun --oversubscribe --timeout 60 --host 10.77.0.1:$1,10.77.0.2:$2 -n $(($1 + $2)) \
    --mca plm_rsh_agent "$work/on_host" --mca btl_tcp_if_include 10.77.0.0/24 --mca oob_tcp_if_include 10.77.0.0/24 --mca btl tcp,vader,self \
    --mca pml ob1 --mca mpi_yield_when_idle 1 "$program" "$1"
}
run 2 2
run 2 1
