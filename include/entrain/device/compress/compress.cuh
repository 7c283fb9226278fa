// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <entrain/device/compress/cast.cuh>
#include <entrain/device/compress/dragonn.cuh>
#include <entrain/device/compress/error_feedback.cuh>
#include <entrain/device/compress/qsgd.cuh>
#include <entrain/device/compress/random_k.cuh>
#include <entrain/device/compress/sign.cuh>
#include <entrain/device/compress/terngrad.cuh>
#include <entrain/device/compress/top_k.cuh>

// All compressors that encode on a device. What device.cuh includes, so that every file of a program makes the same choice between
// parallel/encoded_exchange.hpp and staged_exchange.hpp.
