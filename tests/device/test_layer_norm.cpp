// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <entrain/core/dtype.hpp>
#include <entrain/device/nn/layer_norm.cuh>
#include <entrain/nn/reference.hpp>

#include "device_test.hpp"

// Layer norm, alone and of a sum, on the device, against the plain loops.

using namespace entrain;
using nn::ops::statistic;
using test::as_exact;
using test::exact;
using test::on_device;
using test::plain;
using test::queue;

namespace {

template <class T>
const T* in(const on_device<T>& memory, std::size_t skip = 0) {
  return memory.data() + skip;
}

template <class T>
struct inputs {
  std::vector<T> x, gain, bias, dout;
  explicit inputs(const nn::ops::layer_norm& op)
      : x(test::normal_values<T>(op.rows * op.width, 1, 3)), gain(test::normal_values<T>(op.width, 2)), bias(test::normal_values<T>(op.width, 3)),
        dout(test::normal_values<T>(op.rows * op.width, 4)) {
    for (auto& v : x) v = T(exact<T>(v) + exact<T>(20));  // a mean that would spoil a sum of squares
  }
};

// skip: how far from alignment the device's pointers are.
template <class T>
void check(nn::ops::layer_norm op, double tolerance, std::size_t skip = 0) {
  CAPTURE(sizeof(T), op.rows, op.width, op.accumulate, skip);
  const std::size_t n = op.rows * op.width;
  const inputs<T> host(op);
  auto shifted = host.x;
  shifted.insert(shifted.begin(), skip, T(0));
  const on_device<T> x(shifted), gain(host.gain), bias(host.bias), dout(host.dout);
  const auto out = on_device<T>::poisoned(n), din = on_device<T>::poisoned(n);
  const auto mean = on_device<statistic<T>>::poisoned(op.rows), inverse = on_device<statistic<T>>::poisoned(op.rows);

  using E = exact<T>;
  const auto e_x = as_exact(host.x), e_gain = as_exact(host.gain), e_bias = as_exact(host.bias), e_dout = as_exact(host.dout);
  std::vector<E> e_out(n), e_din(n), e_mean(op.rows), e_inverse(op.rows);
  forward(plain, op, e_x.data(), e_gain.data(), e_bias.data(), e_out.data(), e_mean.data(), e_inverse.data());
  forward(queue(), op, in(x, skip), in(gain), in(bias), out.data(), mean.data(), inverse.data());
  CHECK(test::distance(out.host(), e_out) <= tolerance);
  CHECK(test::distance(mean.host(), e_mean) <= 1e-5);
  CHECK(test::distance(inverse.host(), e_inverse) <= 1e-5);

  const E* const c_mean = e_mean.data();
  const E* const c_inverse = e_inverse.data();
  backward_input(plain, op, e_x.data(), e_gain.data(), c_mean, c_inverse, e_dout.data(), e_din.data());
  backward_input(queue(), op, in(x, skip), in(gain), in(mean), in(inverse), in(dout), din.data());
  CHECK(test::distance(din.host(), e_din) <= tolerance);

  std::vector<T> before_gain(op.width, T(std::numeric_limits<float>::quiet_NaN())), before_bias = before_gain;
  if (op.accumulate) before_gain = test::normal_values<T>(op.width, 5), before_bias = test::normal_values<T>(op.width, 6);
  std::vector<double> sum_gain(op.width), sum_bias(op.width);
  const std::vector<double> d_x(e_x.begin(), e_x.end()), d_mean(e_mean.begin(), e_mean.end()), d_inverse(e_inverse.begin(), e_inverse.end()), d_dout(e_dout.begin(), e_dout.end());
  if (op.accumulate)
    for (std::size_t j = 0; j < op.width; ++j) sum_gain[j] = double(before_gain[j]), sum_bias[j] = double(before_bias[j]);
  backward_parameters(plain, op, d_x.data(), d_mean.data(), d_inverse.data(), d_dout.data(), sum_gain.data(), sum_bias.data());
  std::vector<T> first;
  for (int time = 0; time < 2; ++time) {
    const on_device<T> dgain(before_gain), dbias(before_bias);
    backward_parameters(queue(), op, in(x, skip), in(mean), in(inverse), in(dout), dgain.data(), dbias.data());
    CHECK(test::distance(dgain.host(), sum_gain) <= std::max(tolerance, sizeof(T) == 8 ? 1e-12 : 1e-4));
    CHECK(test::distance(dbias.host(), sum_bias) <= std::max(tolerance, sizeof(T) == 8 ? 1e-12 : 1e-4));
    if (time == 0) first = dgain.host();
    else CHECK(test::distance(dgain.host(), first) == 0);
  }
}

// alias: the sum goes where a is, din where dsum is.
template <class T>
void check_sum(nn::ops::add_layer_norm op, double tolerance, bool alias) {
  CAPTURE(sizeof(T), op.rows, op.width, alias);
  const std::size_t n = op.rows * op.width;
  const inputs<T> host({op.rows, op.width});
  const auto other = test::normal_values<T>(n, 7), dsum_values = test::normal_values<T>(n, 8);
  const on_device<T> a(host.x), b(other), gain(host.gain), bias(host.bias), dout(host.dout), dsum(dsum_values);
  const auto own_sum = on_device<T>::poisoned(n), own_din = on_device<T>::poisoned(n), out = on_device<T>::poisoned(n);
  const auto& sum = alias ? a : own_sum;
  const auto& din = alias ? dsum : own_din;
  const auto mean = on_device<statistic<T>>::poisoned(op.rows), inverse = on_device<statistic<T>>::poisoned(op.rows);

  using E = exact<T>;
  std::vector<T> rounded(n);
  for (std::size_t i = 0; i < n; ++i) rounded[i] = T(E(host.x[i]) + E(other[i]));
  const auto e_sum = as_exact(rounded), e_gain = as_exact(host.gain), e_bias = as_exact(host.bias), e_dout = as_exact(host.dout), e_dsum = as_exact(dsum_values);
  const std::vector<E> zero(n);
  std::vector<E> e_again(n), e_out(n), e_din(n), e_mean(op.rows), e_inverse(op.rows);
  forward(plain, op, e_sum.data(), zero.data(), e_gain.data(), e_bias.data(), e_again.data(), e_out.data(), e_mean.data(), e_inverse.data());
  forward(queue(), op, in(a), in(b), in(gain), in(bias), sum.data(), out.data(), mean.data(), inverse.data());
  CHECK(test::distance(sum.host(), e_again) == 0);
  CHECK(test::distance(out.host(), e_out) <= tolerance);
  const E* const c_mean = e_mean.data();
  const E* const c_inverse = e_inverse.data();
  backward_input(plain, op, e_sum.data(), e_gain.data(), c_mean, c_inverse, e_dout.data(), e_dsum.data(), e_din.data());
  backward_input(queue(), op, in(sum), in(gain), in(mean), in(inverse), in(dout), in(dsum), din.data());
  CHECK(test::distance(din.host(), e_din) <= tolerance);
}

}  // namespace

TEST_CASE("layer norm on the device is that of the plain loops", "[device]") {
  for (const bool accumulate : {false, true})
    for (const std::size_t width : {1, 7, 8, 96, 250, 256, 768, 1600, 2056}) {
      check<float>({5, width, 1e-5f, accumulate}, 2e-5);
      check<bfloat16>({5, width, 1e-5f, accumulate}, 1e-2);
      check<double>({3, width, 1e-5f, accumulate}, 1e-11);
    }
  for (const std::size_t rows : {1, 31, 203}) {
    check<float>({rows, 24, 1e-5f, true}, 2e-5);
    check<bfloat16>({rows, 33, 1e-5f, false}, 1e-2);
  }
}

TEST_CASE("layer norm of rows that are not aligned, or too long for registers", "[device]") {
  check<float>({5, 64, 1e-5f, true}, 2e-5, 1);
  check<bfloat16>({5, 64, 1e-5f, true}, 1e-2, 3);
  check<float>({2, 8196, 1e-5f, true}, 2e-5);
  check<bfloat16>({2, 4096, 1e-5f, false}, 1e-2);
  check<bfloat16>({2, 16392, 1e-5f, false}, 1e-2);
}

TEST_CASE("layer norm of nothing does nothing but empty the gradients", "[device]") {
  const auto gain = on_device<float>::poisoned(8), bias = on_device<float>::poisoned(8);
  const on_device<float> none(std::vector<float>{});
  forward(queue(), nn::ops::layer_norm{0, 8}, in(none), in(gain), in(bias), none.data(), none.data(), none.data());
  backward_parameters(queue(), nn::ops::layer_norm{0, 8, 1e-5f, false}, in(none), in(none), in(none), in(none), gain.data(), bias.data());
  CHECK(gain.host() == std::vector<float>(8, 0.0f));
  CHECK(bias.host() == std::vector<float>(8, 0.0f));
}

TEST_CASE("layer norm of a sum", "[device]") {
  for (const bool alias : {false, true})
    for (const std::size_t width : {7, 64, 768, 2056}) {
      check_sum<float>({5, width}, 2e-5, alias);
      check_sum<bfloat16>({5, width}, 1e-2, alias);
      check_sum<double>({5, width}, 1e-11, alias);
    }
}
