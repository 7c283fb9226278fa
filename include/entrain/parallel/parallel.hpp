// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <entrain/parallel/concepts.hpp>
#include <entrain/parallel/data.hpp>
#include <entrain/parallel/local_steps.hpp>
#include <entrain/parallel/pipeline.hpp>
#include <entrain/parallel/reproducible.hpp>
#include <entrain/parallel/schedule.hpp>
#include <entrain/parallel/sharded.hpp>
