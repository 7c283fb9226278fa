#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The installed tree by pkg-config.
set -euo pipefail
command -v pkg-config >/dev/null || { echo "pkg-config is not installed: skipped"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cmake --install "$ENTRAIN_BINARY_DIR" --prefix "$folder/prefix" >/dev/null
export PKG_CONFIG_PATH=$folder/prefix/share/pkgconfig
cp "$ENTRAIN_SOURCE_DIR/tests/consumers/consumer.cpp" "$folder"
# shellcheck disable=SC2046
"${CXX:-g++}" -std=c++20 "$folder/consumer.cpp" $(pkg-config --cflags --libs entrain) -o "$folder/consumer"
"$folder/consumer"
pkg-config --exact-version="$(sed -n 's/.*ENTRAIN_VERSION_STRING "\(.*\)"/\1/p' "$folder/prefix/include/entrain/core/config.hpp")" entrain
