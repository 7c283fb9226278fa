#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# install_packages.sh PACKAGE...: installs those Debian packages that are missing; asks for root only if one is.
# A package with a trailing ? is welcome but not needed. Exit code 0: everything needed is there.
set -euo pipefail

installed() { dpkg-query -W -f '${db:Status-Status}\n' "$1" 2>/dev/null | grep -qx installed; }

# Elsewhere than on Debian and its relatives the reader's own package manager has brought what is needed; CMake will say if not.
command -v dpkg-query >/dev/null && command -v apt-get >/dev/null || { echo "no apt here: expecting compiler, CMake, Ninja, MPI and oneDNN to be installed"; exit 0; }

needed=() optional=()
for package in "$@"; do
  if installed "${package%\?}"; then continue; fi
  case $package in
    *\?) optional+=("${package%\?}") ;;
    *) needed+=("$package") ;;
  esac
done
[ ${#needed[@]} -gt 0 ] || [ ${#optional[@]} -gt 0 ] || exit 0

become=()
if [ "$(id -u)" -ne 0 ]; then
  if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then become=(sudo)
  elif [ ${#needed[@]} -eq 0 ]; then exit 0
  else
    echo "Missing packages: ${needed[*]}" >&2
    echo "Install them as root, then start again:  apt-get install ${needed[*]}" >&2
    exit 1
  fi
fi

export DEBIAN_FRONTEND=noninteractive
install() { "${become[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >"$log" 2>&1; }
log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "installing with apt: ${needed[*]} ${optional[*]}"
"${become[@]}" apt-get update -qq >"$log" 2>&1 || true  # an old list may still do
if [ ${#needed[@]} -gt 0 ] && ! install "${needed[@]}"; then
  tail -n 20 "$log" >&2
  echo "apt could not install: ${needed[*]}" >&2
  exit 1
fi
for package in "${optional[@]}"; do
  install "$package" || echo "not available, going on without: $package"
done
