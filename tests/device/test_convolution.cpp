// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <entrain/core/dtype.hpp>
#include <entrain/device/nn/batch_norm.cuh>
#include <entrain/device/nn/convolution.cuh>
#include <entrain/device/nn/pooling.cuh>
#include <entrain/nn/reference.hpp>

#include "device_test.hpp"

// The layers of convolutional networks on the device, against the plain loops.

using namespace entrain;
using test::as_exact;
using test::exact;
using test::on_device;
using test::plain;
using test::queue;

namespace {

template <class T>
void check_convolution(nn::ops::convolution op, double tolerance) {
  CAPTURE(op.samples, op.channels, op.height, op.width, op.filters, op.kernel, op.stride, op.padding, op.accumulate);
  const std::size_t n_in = op.samples * op.channels * op.height * op.width, n_weight = op.filters * op.channels * op.kernel * op.kernel;
  const std::size_t n_out = op.samples * op.filters * op.out_height() * op.out_width();
  const auto in = test::normal_values<T>(n_in, 1), weight = test::normal_values<T>(n_weight, 2), bias = test::normal_values<T>(op.filters, 3), dout = test::normal_values<T>(n_out, 4);
  const on_device<T> d_in(in), d_weight(weight), d_bias(bias), d_dout(dout);
  const on_device<T> d_dweight(test::normal_values<T>(n_weight, 5)), d_dbias(test::normal_values<T>(op.filters, 6));
  std::vector<exact<T>> work(op.workspace_size()), out(n_out), din(n_in), dweight = as_exact(d_dweight.host()), dbias = as_exact(d_dbias.host());
  const auto e_in = as_exact(in), e_weight = as_exact(weight), e_bias = as_exact(bias), e_dout = as_exact(dout);
  const auto d_out = on_device<T>::poisoned(n_out), d_din = on_device<T>::poisoned(n_in);
  T* const none = nullptr;

  forward(plain, op, e_in.data(), e_weight.data(), e_bias.data(), out.data(), work.data());
  forward(queue(), op, static_cast<const T*>(d_in.data()), static_cast<const T*>(d_weight.data()), static_cast<const T*>(d_bias.data()), d_out.data(), none);
  CHECK(test::distance(d_out.host(), out) <= tolerance);
  backward_input(plain, op, e_weight.data(), e_dout.data(), din.data(), work.data());
  backward_input(queue(), op, static_cast<const T*>(d_weight.data()), static_cast<const T*>(d_dout.data()), d_din.data(), none);
  CHECK(test::distance(d_din.host(), din) <= tolerance);
  backward_parameters(plain, op, e_in.data(), e_dout.data(), dweight.data(), dbias.data(), work.data());
  backward_parameters(queue(), op, static_cast<const T*>(d_in.data()), static_cast<const T*>(d_dout.data()), d_dweight.data(), d_dbias.data(), none);
  CHECK(test::distance(d_dweight.host(), dweight) <= tolerance);
  CHECK(test::distance(d_dbias.host(), dbias) <= tolerance);
}

template <class T>
void check_pooling(nn::ops::pooling op, std::vector<T> in) {
  CAPTURE(int(op.kind), op.height, op.width, op.window, op.stride);
  const std::size_t n_out = op.samples * op.channels * op.out_height() * op.out_width();
  const auto dout = test::normal_values<T>(n_out, 9);
  std::vector<T> out(n_out), din(in.size());
  const on_device<T> d_in(in), d_dout(dout);
  const auto d_out = on_device<T>::poisoned(n_out), d_din = on_device<T>::poisoned(in.size());
  forward(plain, op, static_cast<const T*>(in.data()), out.data());
  forward(queue(), op, static_cast<const T*>(d_in.data()), d_out.data());
  CHECK(test::distance(d_out.host(), out) <= 1e-6);
  backward(plain, op, static_cast<const T*>(in.data()), static_cast<const T*>(out.data()), dout.data(), din.data());
  backward(queue(), op, static_cast<const T*>(d_in.data()), static_cast<const T*>(d_out.data()), static_cast<const T*>(d_dout.data()), d_din.data());
  CHECK(test::distance(d_din.host(), din) <= 1e-6);
}

template <class T>
void check_batch_norm(nn::ops::batch_norm op, double tolerance) {
  using S = nn::ops::statistic<T>;
  CAPTURE(op.samples, op.channels, op.spatial, op.accumulate);
  const std::size_t n = op.samples * op.channels * op.spatial, c = op.channels;
  const auto in = test::normal_values<T>(n, 1, 3), gain = test::normal_values<T>(c, 2), bias = test::normal_values<T>(c, 3), dout = test::normal_values<T>(n, 4);
  std::vector<T> out(n), din(n), dgain = test::normal_values<T>(c, 5), dbias = test::normal_values<T>(c, 6), sum_mean(c), sum_variance(c);
  std::vector<S> mean(c), inverse(c);
  const on_device<T> d_in(in), d_gain(gain), d_bias(bias), d_dout(dout), d_dgain(dgain), d_dbias(dbias);
  const auto d_out = on_device<T>::poisoned(n), d_din = on_device<T>::poisoned(n), d_sum_mean = on_device<T>::poisoned(c), d_sum_variance = on_device<T>::poisoned(c);
  const auto d_mean = on_device<S>::poisoned(c), d_inverse = on_device<S>::poisoned(c);

  forward(plain, op, in.data(), gain.data(), bias.data(), out.data(), mean.data(), inverse.data());
  forward(queue(), op, static_cast<const T*>(d_in.data()), static_cast<const T*>(d_gain.data()), static_cast<const T*>(d_bias.data()), d_out.data(), d_mean.data(), d_inverse.data());
  CHECK(test::distance(d_out.host(), out) <= tolerance);
  CHECK(test::distance(d_mean.host(), mean) <= 1e-5);
  CHECK(test::distance(d_inverse.host(), inverse) <= 1e-5);
  const S *m = d_mean.data(), *i = d_inverse.data();
  backward_input(plain, op, in.data(), gain.data(), mean.data(), inverse.data(), dout.data(), din.data());
  backward_input(queue(), op, static_cast<const T*>(d_in.data()), static_cast<const T*>(d_gain.data()), m, i, static_cast<const T*>(d_dout.data()), d_din.data());
  CHECK(test::distance(d_din.host(), din) <= tolerance);
  backward_parameters(plain, op, in.data(), mean.data(), inverse.data(), dout.data(), dgain.data(), dbias.data());
  backward_parameters(queue(), op, static_cast<const T*>(d_in.data()), m, i, static_cast<const T*>(d_dout.data()), d_dgain.data(), d_dbias.data());
  CHECK(test::distance(d_dgain.host(), dgain) <= tolerance);
  CHECK(test::distance(d_dbias.host(), dbias) <= tolerance);
  const nn::ops::observed_statistics observed{op.samples, c, op.spatial, op.epsilon, false};
  run(plain, observed, mean.data(), inverse.data(), sum_mean.data(), sum_variance.data());
  run(queue(), observed, m, i, d_sum_mean.data(), d_sum_variance.data());
  CHECK(test::distance(d_sum_mean.host(), sum_mean) <= tolerance);
  CHECK(test::distance(d_sum_variance.host(), sum_variance) <= tolerance);
}

}  // namespace

TEST_CASE("convolutions on the device are those of the plain loops", "[device]") {
  for (const bool accumulate : {false, true}) {
    check_convolution<float>({2, 3, 7, 9, 4, 3, 1, 1, accumulate}, 1e-4);
    check_convolution<float>({1, 1, 28, 28, 5, 5, 2, 0, accumulate}, 1e-4);
    check_convolution<double>({2, 2, 5, 5, 3, 3, 2, 2, accumulate}, 1e-12);
    check_convolution<bfloat16>({1, 2, 6, 6, 3, 3, 1, 0, accumulate}, 2e-2);
  }
  check_convolution<float>({0, 1, 4, 4, 2, 3, 1, 1, false}, 1e-4);
}

TEST_CASE("pooling on the device, also with ties and overlapping windows", "[device]") {
  for (const auto kind : {nn::ops::pooling_kind::maximum, nn::ops::pooling_kind::average})
    for (const std::size_t stride : {1, 2, 3}) {
      check_pooling<float>({kind, 2, 3, 8, 7, 2, stride}, test::normal_values<float>(2 * 3 * 8 * 7));
      check_pooling<float>({kind, 1, 2, 6, 6, 3, stride}, std::vector<float>(72, 1.0f));
    }
}

TEST_CASE("batch norm on the device", "[device]") {
  for (const bool accumulate : {false, true}) {
    check_batch_norm<float>({4, 3, 11, 1e-5f, accumulate}, 1e-4);
    check_batch_norm<float>({1, 2, 1, 1e-5f, accumulate}, 1e-4);
    check_batch_norm<double>({3, 5, 300, 1e-5f, accumulate}, 1e-10);
    check_batch_norm<bfloat16>({4, 2, 16, 1e-5f, accumulate}, 2e-2);
  }
}

TEST_CASE("evaluation's batch norm takes the statistics that it is given", "[device]") {
  const nn::ops::batch_norm op{2, 3, 5};
  const auto in = test::normal_values<float>(30, 1), gain = test::normal_values<float>(3, 2), bias = test::normal_values<float>(3, 3), mean = test::normal_values<float>(3, 4);
  const std::vector<float> variance{0.5f, 2, 9};
  std::vector<float> inverse(3), out(30);
  const on_device<float> d_in(in), d_gain(gain), d_bias(bias), d_mean(mean), d_variance(variance);
  const auto d_inverse = on_device<float>::poisoned(3), d_out = on_device<float>::poisoned(30);
  run(plain, nn::ops::inverse_deviation{3, 1e-5f}, variance.data(), inverse.data());
  forward_with(plain, op, in.data(), gain.data(), bias.data(), out.data(), mean.data(), inverse.data());
  run(queue(), nn::ops::inverse_deviation{3, 1e-5f}, static_cast<const float*>(d_variance.data()), d_inverse.data());
  forward_with(queue(), op, static_cast<const float*>(d_in.data()), static_cast<const float*>(d_gain.data()), static_cast<const float*>(d_bias.data()), d_out.data(),
               static_cast<const float*>(d_mean.data()), static_cast<const float*>(d_inverse.data()));
  CHECK(test::distance(d_inverse.host(), inverse) <= 1e-6);
  CHECK(test::distance(d_out.host(), out) <= 1e-5);
}
