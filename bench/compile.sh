#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# bench compile: seconds and memory to compile the quickstart and each header, against a first program with libtorch
#
# Best of three, -O2, g++, interleaved. The peer is the libtorch inside the PyTorch of ENTRAIN_LIBTORCH (a folder with include/),
# else Debian's libtorch-dev.
set -euo pipefail
cd "$ENTRAIN_SOURCE_DIR"
[ -n "${ENTRAIN_LIBTORCH:-}" ] || [ -e /usr/include/torch/csrc/api/include/torch/torch.h ] || cmake/install_packages.sh libtorch-dev?
exec python3 bench/compile.py
