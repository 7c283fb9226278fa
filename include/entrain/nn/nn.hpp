// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <entrain/nn/activation.hpp>
#include <entrain/nn/batch_norm.hpp>
#include <entrain/nn/causal_self_attention.hpp>
#include <entrain/nn/classifier.hpp>
#include <entrain/nn/cnn.hpp>
#include <entrain/nn/concepts.hpp>
#include <entrain/nn/convolution.hpp>
#include <entrain/nn/dropout.hpp>
#include <entrain/nn/flatten.hpp>
#include <entrain/nn/generate.hpp>
#include <entrain/nn/gpt.hpp>
#include <entrain/nn/language_model.hpp>
#include <entrain/nn/layer_norm.hpp>
#include <entrain/nn/linear.hpp>
#include <entrain/nn/mlp.hpp>
#include <entrain/nn/network.hpp>
#include <entrain/nn/pooling.hpp>
#include <entrain/nn/positional_embedding.hpp>
#include <entrain/nn/precision.hpp>
#include <entrain/nn/residual.hpp>
#include <entrain/nn/sequential.hpp>

// Layers and models. Begin with a ready model (mlp, cnn, gpt) or put layers into a classifier or regressor; to write a
// layer of your own, read nn/layer.hpp and nn/linear.hpp.
