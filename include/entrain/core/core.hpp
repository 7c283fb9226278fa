// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <entrain/core/assert.hpp>
#include <entrain/core/batch.hpp>
#include <entrain/core/config.hpp>
#include <entrain/core/describe.hpp>
#include <entrain/core/dtype.hpp>
#include <entrain/core/error.hpp>
#include <entrain/core/fault.hpp>
#include <entrain/core/layout.hpp>
#include <entrain/core/loss.hpp>
#include <entrain/core/memory.hpp>
#include <entrain/core/philox.hpp>
#include <entrain/core/placement.hpp>
#include <entrain/core/policy.hpp>
#include <entrain/core/state.hpp>
