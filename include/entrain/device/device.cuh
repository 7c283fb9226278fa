// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <entrain/device/compress/compress.cuh>
#include <entrain/device/nn/activation.cuh>
#include <entrain/device/nn/affine_endings.cuh>
#include <entrain/device/nn/attention.cuh>
#include <entrain/device/nn/batch_norm.cuh>
#include <entrain/device/nn/convert.cuh>
#include <entrain/device/nn/convolution.cuh>
#include <entrain/device/nn/dropout.cuh>
#include <entrain/device/nn/embedding.cuh>
#include <entrain/device/nn/layer_norm.cuh>
#include <entrain/device/nn/pooling.cuh>
#include <entrain/device/nn/product.cuh>
#include <entrain/device/nn/softmax_cross_entropy.cuh>
#include <entrain/device/nn/squared_error.cuh>
#include <entrain/device/optim/replica.cuh>

// All that a trainer on engine::cuda needs, for files that nvcc compiles.
