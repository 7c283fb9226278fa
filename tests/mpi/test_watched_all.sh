#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# entrain-test: slow, heavy
#
# All 50 ways in which test_watched.sh makes a rank err.
exec bash "$(dirname "$0")/test_watched.sh" all
