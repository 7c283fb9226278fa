// SPDX-License-Identifier: Apache-2.0
#pragma once

#if defined(__CUDACC__)  // nvcc's front end warns of GCC's pragma for unrolling, and hands it on to GCC
#pragma nv_diagnostic push
#pragma nv_diag_suppress 1675
#endif
#include <entrain/nn/host/activation.hpp>
#include <entrain/nn/host/attention.hpp>
#include <entrain/nn/host/convolution.hpp>
#include <entrain/nn/host/dropout.hpp>
#include <entrain/nn/host/layer_norm.hpp>
#include <entrain/nn/host/product.hpp>
#include <entrain/nn/host/rows.hpp>
#include <entrain/nn/host/softmax_cross_entropy.hpp>
#if defined(__CUDACC__)
#pragma nv_diagnostic pop
#endif
#include <entrain/nn/reference.hpp>

// The operations of nn/ops.hpp for engine::host: vector registers, blocks that fit the caches, and oneDNN's matrix product
// where it is linked. What has no form here (double precision exponentials, pooling, batch norm, squared error) runs the
// plain loops of nn/reference.hpp by overload resolution, since engine::host converts to engine::reference.
