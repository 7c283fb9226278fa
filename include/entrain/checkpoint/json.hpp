// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <entrain/core/json_reader.hpp>

// The strict JSON reader under its former name: it moved to core when profiles of the cost model became readers of files, too.
