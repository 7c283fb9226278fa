// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <entrain/optim/adamw.hpp>
#include <entrain/optim/clip.hpp>
#include <entrain/optim/concepts.hpp>
#include <entrain/optim/lamb.hpp>
#include <entrain/optim/lars.hpp>
#include <entrain/optim/one_bit_adam.hpp>
#include <entrain/optim/schedule.hpp>
#include <entrain/optim/sgd.hpp>
#include <entrain/optim/zero_one_adam.hpp>
