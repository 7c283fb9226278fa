// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <initializer_list>
#include <type_traits>

#include <entrain/device/nn/attention/matrix_backward.cuh>
#include <entrain/device/nn/attention/matrix_forward.cuh>
#include <entrain/device/nn/attention/plain.cuh>
#include <entrain/device/nn/cudnn_attention.cuh>
#include <entrain/engine/cuda.hpp>
#include <entrain/nn/ops.hpp>

// Causal attention on the device without a length x length matrix; the workspace is not used. Results are the same in every run.
// In programs that define ENTRAIN_CUDNN cuDNN is asked first (cudnn_attention.cuh). Of the rest, bfloat16 and float16 with heads of 32,
// 64, 96 or 128 elements run on tensor cores, all else on the plain kernels.

namespace entrain::nn::ops {

namespace detail {

// Calls f(std::integral_constant<int, head width>) and returns true where the kernels for tensor cores serve.
template <class T, class F>
bool on_tensor_cores(const causal_attention& op, std::initializer_list<const T*> pointers, F&& f) {
  if constexpr (device::matrix_element<T>) {
    for (const T* p : pointers)
      if (!device::aligned(p)) return false;
    switch (op.head_width) {
      case 32: return f(std::integral_constant<int, 32>{}), true;
      case 64: return f(std::integral_constant<int, 64>{}), true;
      case 96: return f(std::integral_constant<int, 96>{}), true;
      case 128: return f(std::integral_constant<int, 128>{}), true;
      default: return false;
    }
  }
  return false;
}

}  // namespace detail

template <class T>
void forward(const engine::cuda_queue& queue, const causal_attention& op, const T* qkv, T* out, statistic<T>* log_sum_exp, T*) {
#if defined(ENTRAIN_CUDNN)
  if (device::attention::cudnn_forward(queue, op, qkv, out, log_sum_exp)) return;
#endif
  const bool done = detail::on_tensor_cores<T>(op, {qkv, out}, [&](auto width) { device::attention::launch_matrix_forward<decltype(width)::value>(queue, op, qkv, out, log_sum_exp); });
  if (!done) device::attention::launch_plain_forward(queue, op, qkv, out, log_sum_exp);
}

template <class T>
void backward(const engine::cuda_queue& queue, const causal_attention& op, const T* qkv, const T* out, const statistic<T>* log_sum_exp, const T* dout, T* dqkv, T*) {
#if defined(ENTRAIN_CUDNN)
  if (device::attention::cudnn_backward(queue, op, qkv, out, log_sum_exp, dout, dqkv)) return;
#endif
  const bool done = detail::on_tensor_cores<T>(op, {qkv, out, dout, dqkv}, [&](auto width) {
    device::attention::launch_matrix_backward<decltype(width)::value>(queue, op, qkv, out, log_sum_exp, dout, dqkv);
  });
  if (!done) device::attention::launch_plain_backward(queue, op, qkv, out, log_sum_exp, dout, dqkv);
}

}  // namespace entrain::nn::ops
