// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include <entrain/device/launch.cuh>
#include <entrain/device/reduce.cuh>
#include <entrain/device/vector.cuh>
#include <entrain/nn/ops.hpp>

// Batch norm: sums over a channel by one block, in double and a fixed order; the rest element by element. Bytes: forward reads the
// input three times (mean, spread, result) and writes once, backward_input reads input and gradient twice and writes once.

namespace entrain::device {

// Sum of f(i) over the samples and pixels of channel c, in every thread of the block.
template <class F>
__device__ inline double channel_sum(const nn::ops::batch_norm& op, std::size_t c, F f) {
  double sum = 0;
  for (std::size_t i = threadIdx.x; i < op.samples * op.spatial; i += blockDim.x) sum += f((i / op.spatial * op.channels + c) * op.spatial + i % op.spatial);
  return block_sum(sum);
}

template <class T>
struct value_at {
  const T* in;
  __device__ double operator()(std::size_t i) const { return double(in[i]); }
};
template <class T>
struct squared_distance_at {
  const T* in;
  double mean;
  __device__ double operator()(std::size_t i) const { return (double(in[i]) - mean) * (double(in[i]) - mean); }
};
template <class T>
struct projection_at {
  const T *in, *dout;
  double mean, inverse;
  __device__ double operator()(std::size_t i) const { return double(dout[i]) * (double(in[i]) - mean) * inverse; }
};

template <class T>
__global__ void batch_statistics(nn::ops::batch_norm op, const T* in, nn::ops::statistic<T>* mean, nn::ops::statistic<T>* inverse_deviation) {
  using S = nn::ops::statistic<T>;
  const std::size_t c = blockIdx.x;
  const double count = double(op.samples * op.spatial);
  const double m = count > 0 ? channel_sum(op, c, value_at<T>{in}) / count : 0;
  const double squares = channel_sum(op, c, squared_distance_at<T>{in, m});
  if (threadIdx.x == 0) mean[c] = S(m), inverse_deviation[c] = S(1.0 / sqrt((count > 0 ? squares / count : 0) + double(op.epsilon)));
}

template <class T, class S>
__global__ void batch_norm_apply(nn::ops::batch_norm op, const T* in, const T* gain, const T* bias, T* out, const S* mean, const S* inverse_deviation) {
  using A = arithmetic<T>;
  const std::size_t total = op.samples * op.channels * op.spatial;
  for (std::size_t i = thread_index(); i < total; i += thread_count()) {
    const std::size_t c = i / op.spatial % op.channels;
    out[i] = T((A(in[i]) - A(mean[c])) * (A(gain[c]) * A(inverse_deviation[c])) + A(bias[c]));
  }
}

template <class T>
__global__ void batch_norm_backward_input(nn::ops::batch_norm op, const T* in, const T* gain, const nn::ops::statistic<T>* mean, const nn::ops::statistic<T>* inverse_deviation,
                                          const T* dout, T* din) {
  const std::size_t c = blockIdx.x, n = op.samples * op.spatial;
  const double m = double(mean[c]), inverse = double(inverse_deviation[c]);
  const double sum = channel_sum(op, c, value_at<T>{dout}) / double(n), projected = channel_sum(op, c, projection_at<T>{in, dout, m, inverse}) / double(n);
  for (std::size_t j = threadIdx.x; j < n; j += blockDim.x) {
    const std::size_t i = (j / op.spatial * op.channels + c) * op.spatial + j % op.spatial;
    din[i] = T(arithmetic<T>(double(gain[c]) * inverse * (double(dout[i]) - sum - (double(in[i]) - m) * inverse * projected)));
  }
}

template <class T>
__global__ void batch_norm_backward_parameters(nn::ops::batch_norm op, const T* in, const nn::ops::statistic<T>* mean, const nn::ops::statistic<T>* inverse_deviation, const T* dout,
                                               T* dgain, T* dbias) {
  const std::size_t c = blockIdx.x;
  const double gain = channel_sum(op, c, projection_at<T>{in, dout, double(mean[c]), double(inverse_deviation[c])}), bias = channel_sum(op, c, value_at<T>{dout});
  if (threadIdx.x != 0) return;
  dgain[c] = T(arithmetic<T>(gain + (op.accumulate ? double(dgain[c]) : 0)));
  dbias[c] = T(arithmetic<T>(bias + (op.accumulate ? double(dbias[c]) : 0)));
}

template <class T>
__global__ void inverse_deviations(nn::ops::inverse_deviation op, const T* variance, T* out) {
  for (std::size_t i = thread_index(); i < op.count; i += thread_count()) out[i] = T(arithmetic<T>(1.0 / sqrt(double(variance[i]) + double(op.epsilon))));
}

template <class T>
__global__ void observe_statistics(nn::ops::observed_statistics op, const nn::ops::statistic<T>* mean, const nn::ops::statistic<T>* inverse, T* sum_mean, T* sum_variance) {
  const double count = double(op.samples * op.spatial), unbias = count / (count > 2 ? count - 1 : 1.0), samples = double(op.samples);
  for (std::size_t i = thread_index(); i < op.channels; i += thread_count()) {
    const double spread = 1.0 / (double(inverse[i]) * double(inverse[i])) - double(op.epsilon), variance = spread > 0 ? spread : 0;
    sum_mean[i] = T(arithmetic<T>(samples * double(mean[i]) + (op.accumulate ? double(sum_mean[i]) : 0)));
    sum_variance[i] = T(arithmetic<T>(samples * variance * unbias + (op.accumulate ? double(sum_variance[i]) : 0)));
  }
}

}  // namespace entrain::device

namespace entrain::nn::ops {

template <class T, class S>
void forward_with(const engine::cuda_queue& queue, const batch_norm& op, const T* in, const T* gain, const T* bias, T* out, const S* mean, const S* inverse) {
  const std::size_t n = op.samples * op.channels * op.spatial;
  device::launch(queue, device::batch_norm_apply<T, S>, {device::grid_for(queue, n, 256), 256}, op, in, gain, bias, out, mean, inverse);
}
template <class T>
void forward(const engine::cuda_queue& queue, const batch_norm& op, const T* in, const T* gain, const T* bias, T* out, statistic<T>* mean, statistic<T>* inverse) {
  device::launch(queue, device::batch_statistics<T>, {unsigned(op.channels), 256}, op, in, mean, inverse);
  forward_with(queue, op, in, gain, bias, out, static_cast<const statistic<T>*>(mean), static_cast<const statistic<T>*>(inverse));
}
template <class T>
void backward_input(const engine::cuda_queue& queue, const batch_norm& op, const T* in, const T* gain, const statistic<T>* mean, const statistic<T>* inverse, const T* dout, T* din) {
  if (op.samples * op.spatial > 0) device::launch(queue, device::batch_norm_backward_input<T>, {unsigned(op.channels), 256}, op, in, gain, mean, inverse, dout, din);
}
template <class T>
void backward_parameters(const engine::cuda_queue& queue, const batch_norm& op, const T* in, const statistic<T>* mean, const statistic<T>* inverse, const T* dout, T* dgain, T* dbias) {
  device::launch(queue, device::batch_norm_backward_parameters<T>, {unsigned(op.channels), 256}, op, in, mean, inverse, dout, dgain, dbias);
}
template <class T>
void run(const engine::cuda_queue& queue, const inverse_deviation& op, const T* variance, T* out) {
  device::launch(queue, device::inverse_deviations<T>, {device::grid_for(queue, op.count, 256), 256}, op, variance, out);
}
template <class T>
void run(const engine::cuda_queue& queue, const observed_statistics& op, const statistic<T>* mean, const statistic<T>* inverse, T* sum_mean, T* sum_variance) {
  device::launch(queue, device::observe_statistics<T>, {device::grid_for(queue, op.channels, 256), 256}, op, mean, inverse, sum_mean, sum_variance);
}

}  // namespace entrain::nn::ops
