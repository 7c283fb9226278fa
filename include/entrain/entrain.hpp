// SPDX-License-Identifier: Apache-2.0
#pragma once

// Everything that runs on the host. A program that wants to compile faster includes only the folders that it uses.

#include <entrain/checkpoint/checkpoint.hpp>
#include <entrain/comm/comm.hpp>
#include <entrain/compress/compress.hpp>
#include <entrain/core/core.hpp>
#include <entrain/data/data.hpp>
#include <entrain/engine/engine.hpp>
#include <entrain/monitor/monitor.hpp>
#include <entrain/nn/nn.hpp>
#include <entrain/optim/optim.hpp>
#include <entrain/parallel/parallel.hpp>
#include <entrain/trainer/public_weights.hpp>
#include <entrain/trainer/trainer.hpp>
