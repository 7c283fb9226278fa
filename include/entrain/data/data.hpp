// SPDX-License-Identifier: Apache-2.0
#pragma once

// All of data/: datasets, their order, and the loader that brings them to a training step.

#include <entrain/data/bytes.hpp>
#include <entrain/data/cifar10.hpp>
#include <entrain/data/concepts.hpp>
#include <entrain/data/csv.hpp>
#include <entrain/data/idx.hpp>
#include <entrain/data/images.hpp>
#include <entrain/data/loader.hpp>
#include <entrain/data/memory.hpp>
#include <entrain/data/order.hpp>
#include <entrain/data/synthetic.hpp>
