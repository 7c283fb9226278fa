// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <entrain/nn/reference/attention.hpp>
#include <entrain/nn/reference/convolution.hpp>
#include <entrain/nn/reference/elementwise.hpp>
#include <entrain/nn/reference/gemm.hpp>
#include <entrain/nn/reference/losses.hpp>
#include <entrain/nn/reference/normalisation.hpp>

// Every operation of nn/ops.hpp for engine::reference: plain sequential loops, the truth that faster ones are held against.
// A new engine converts to engine::reference and overloads what it does better, in namespace entrain::nn::ops; layers find
// the overloads by argument-dependent look-up through the descriptors.
