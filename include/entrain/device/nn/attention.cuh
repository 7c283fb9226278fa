// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <entrain/device/nn/attention/plain.cuh>
#include <entrain/engine/cuda.hpp>
#include <entrain/nn/ops.hpp>

// Causal attention on the device without a length x length matrix; the workspace is not used. Results are the same in every run.

namespace entrain::nn::ops {

template <class T>
void forward(const engine::cuda_queue& queue, const causal_attention& op, const T* qkv, T* out, statistic<T>* log_sum_exp, T*) {
  device::attention::launch_plain_forward(queue, op, qkv, out, log_sum_exp);
}

template <class T>
void backward(const engine::cuda_queue& queue, const causal_attention& op, const T* qkv, const T* out, const statistic<T>* log_sum_exp, const T* dout, T* dqkv, T*) {
  device::attention::launch_plain_backward(queue, op, qkv, out, log_sum_exp, dout, dqkv);
}

}  // namespace entrain::nn::ops
