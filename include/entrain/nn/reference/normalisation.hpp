// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>

#include <entrain/engine/host.hpp>
#include <entrain/nn/ops.hpp>

// Layer norm (Ba, Kiros, Hinton, 2016) and batch norm (Ioffe, Szegedy, 2015) as plain loops; sums are taken in double.
// With n(x) = (x - mean) / deviation the gradient is
//   din = (gain * dout - mean(gain * dout) - n * mean(gain * dout * n)) / deviation,   means over what was normalised.

namespace entrain::nn::ops {

template <class T>
void forward(const engine::reference&, const layer_norm& op, const T* in, const T* gain, const T* bias, T* out, statistic<T>* mean,
             statistic<T>* inverse_deviation) {
  for (std::size_t r = 0; r < op.rows; ++r) {
    const T* x = in + r * op.width;
    T* y = out + r * op.width;
    double sum = 0, squares = 0;
    for (std::size_t j = 0; j < op.width; ++j) sum += double(x[j]);
    const double m = sum / double(op.width);
    for (std::size_t j = 0; j < op.width; ++j) squares += (double(x[j]) - m) * (double(x[j]) - m);
    const double inverse = 1.0 / std::sqrt(squares / double(op.width) + double(op.epsilon));
    mean[r] = statistic<T>(m);
    inverse_deviation[r] = statistic<T>(inverse);
    for (std::size_t j = 0; j < op.width; ++j) y[j] = T((double(x[j]) - m) * inverse) * gain[j] + bias[j];
  }
}

template <class T>
void backward_input(const engine::reference&, const layer_norm& op, const T* in, const T* gain, const statistic<T>* mean, const statistic<T>* inverse_deviation,
                    const T* dout, T* din) {
  for (std::size_t r = 0; r < op.rows; ++r) {
    const T *x = in + r * op.width, *dy = dout + r * op.width;
    T* dx = din + r * op.width;
    const double m = double(mean[r]), inverse = double(inverse_deviation[r]);
    double sum = 0, projected = 0;
    for (std::size_t j = 0; j < op.width; ++j) {
      const double g = double(gain[j]) * double(dy[j]);
      sum += g;
      projected += g * (double(x[j]) - m) * inverse;
    }
    sum /= double(op.width), projected /= double(op.width);
    for (std::size_t j = 0; j < op.width; ++j)
      dx[j] = T(inverse * (double(gain[j]) * double(dy[j]) - sum - (double(x[j]) - m) * inverse * projected));
  }
}

template <class T>
void backward_parameters(const engine::reference&, const layer_norm& op, const T* in, const statistic<T>* mean, const statistic<T>* inverse_deviation,
                         const T* dout, T* dgain, T* dbias) {
  if (!op.accumulate) std::fill_n(dgain, op.width, T(0)), std::fill_n(dbias, op.width, T(0));
  for (std::size_t r = 0; r < op.rows; ++r) {
    const T *x = in + r * op.width, *dy = dout + r * op.width;
    for (std::size_t j = 0; j < op.width; ++j) {
      dgain[j] += dy[j] * (x[j] - mean[r]) * inverse_deviation[r];
      dbias[j] += dy[j];
    }
  }
}

template <class T>
void forward(const engine::reference& e, const add_layer_norm& op, const T* a, const T* b, const T* gain, const T* bias, T* sum, T* out, statistic<T>* mean,
             statistic<T>* inverse_deviation) {
  for (std::size_t i = 0; i < op.rows * op.width; ++i) sum[i] = a[i] + b[i];
  forward(e, layer_norm{op.rows, op.width, op.epsilon}, static_cast<const T*>(sum), gain, bias, out, mean, inverse_deviation);
}

template <class T>
void backward_input(const engine::reference&, const add_layer_norm& op, const T* sum, const T* gain, const statistic<T>* mean,
                    const statistic<T>* inverse_deviation, const T* dout, const T* dsum, T* din) {
  for (std::size_t r = 0; r < op.rows; ++r) {
    const std::size_t first = r * op.width;
    const double m = double(mean[r]), inverse = double(inverse_deviation[r]);
    double total = 0, projected = 0;
    for (std::size_t j = 0; j < op.width; ++j) {
      const double g = double(gain[j]) * double(dout[first + j]);
      total += g;
      projected += g * (double(sum[first + j]) - m) * inverse;
    }
    total /= double(op.width), projected /= double(op.width);
    for (std::size_t j = 0; j < op.width; ++j) {
      const double g = double(gain[j]) * double(dout[first + j]), n = (double(sum[first + j]) - m) * inverse;
      din[first + j] = T(double(dsum[first + j]) + inverse * (g - total - n * projected));
    }
  }
}

// out = gain * (in - mean) * inverse_deviation + bias with statistics that are given.
template <class T, class S>
void forward_with(const engine::reference&, const batch_norm& op, const T* in, const T* gain, const T* bias, T* out, const S* mean,
                  const S* inverse_deviation) {
  for (std::size_t s = 0; s < op.samples; ++s)
    for (std::size_t c = 0; c < op.channels; ++c) {
      const std::size_t first = (s * op.channels + c) * op.spatial;
      const S scale = S(gain[c]) * inverse_deviation[c], centre = mean[c], shift = S(bias[c]);
      for (std::size_t i = first; i < first + op.spatial; ++i) out[i] = T((S(in[i]) - centre) * scale + shift);
    }
}

template <class T>
void forward(const engine::reference& e, const batch_norm& op, const T* in, const T* gain, const T* bias, T* out, statistic<T>* mean,
             statistic<T>* inverse_deviation) {
  const double count = double(op.samples * op.spatial);
  for (std::size_t c = 0; c < op.channels; ++c) {
    double sum = 0, squares = 0;
    for (std::size_t s = 0; s < op.samples; ++s)
      for (std::size_t i = 0; i < op.spatial; ++i) sum += double(in[(s * op.channels + c) * op.spatial + i]);
    const double m = count > 0 ? sum / count : 0;
    for (std::size_t s = 0; s < op.samples; ++s)
      for (std::size_t i = 0; i < op.spatial; ++i) {
        const double d = double(in[(s * op.channels + c) * op.spatial + i]) - m;
        squares += d * d;
      }
    mean[c] = statistic<T>(m);
    inverse_deviation[c] = statistic<T>(1.0 / std::sqrt((count > 0 ? squares / count : 0) + double(op.epsilon)));
  }
  forward_with(e, op, in, gain, bias, out, static_cast<const statistic<T>*>(mean), static_cast<const statistic<T>*>(inverse_deviation));
}

template <class T>
void backward_input(const engine::reference&, const batch_norm& op, const T* in, const T* gain, const statistic<T>* mean, const statistic<T>* inverse_deviation,
                    const T* dout, T* din) {
  const double count = double(op.samples * op.spatial);
  for (std::size_t c = 0; c < op.channels; ++c) {
    const double m = double(mean[c]), inverse = double(inverse_deviation[c]);
    double sum = 0, projected = 0;
    for (std::size_t s = 0; s < op.samples; ++s)
      for (std::size_t i = (s * op.channels + c) * op.spatial; i < (s * op.channels + c + 1) * op.spatial; ++i) {
        sum += double(dout[i]);
        projected += double(dout[i]) * (double(in[i]) - m) * inverse;
      }
    if (count > 0) sum /= count, projected /= count;
    for (std::size_t s = 0; s < op.samples; ++s)
      for (std::size_t i = (s * op.channels + c) * op.spatial; i < (s * op.channels + c + 1) * op.spatial; ++i)
        din[i] = T(double(gain[c]) * inverse * (double(dout[i]) - sum - (double(in[i]) - m) * inverse * projected));
  }
}

template <class T>
void backward_parameters(const engine::reference&, const batch_norm& op, const T* in, const statistic<T>* mean, const statistic<T>* inverse_deviation,
                         const T* dout, T* dgain, T* dbias) {
  for (std::size_t c = 0; c < op.channels; ++c) {
    double gain = 0, bias = 0;
    for (std::size_t s = 0; s < op.samples; ++s)
      for (std::size_t i = (s * op.channels + c) * op.spatial; i < (s * op.channels + c + 1) * op.spatial; ++i) {
        gain += double(dout[i]) * (double(in[i]) - double(mean[c])) * double(inverse_deviation[c]);
        bias += double(dout[i]);
      }
    dgain[c] = T(gain) + (op.accumulate ? dgain[c] : T(0));
    dbias[c] = T(bias) + (op.accumulate ? dbias[c] : T(0));
  }
}

template <class T>
void run(const engine::reference&, const inverse_deviation& op, const T* variance, T* out) {
  for (std::size_t i = 0; i < op.count; ++i) out[i] = T(1) / T(std::sqrt(variance[i] + T(op.epsilon)));
}

template <class T>
void run(const engine::reference&, const observed_statistics& op, const statistic<T>* mean, const statistic<T>* inverse, T* sum_mean, T* sum_variance) {
  const double count = double(op.samples * op.spatial), unbias = count / std::max(count - 1, 1.0);
  for (std::size_t i = 0; i < op.channels; ++i) {
    const double variance = std::max(0.0, 1.0 / (double(inverse[i]) * double(inverse[i])) - double(op.epsilon));
    sum_mean[i] = T(double(op.samples) * double(mean[i])) + (op.accumulate ? sum_mean[i] : T(0));
    sum_variance[i] = T(double(op.samples) * variance * unbias) + (op.accumulate ? sum_variance[i] : T(0));
  }
}

}  // namespace entrain::nn::ops
