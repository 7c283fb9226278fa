// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <entrain/core/dtype.hpp>
#include <entrain/device/nn/activation.cuh>
#include <entrain/device/nn/dropout.cuh>
#include <entrain/device/nn/squared_error.cuh>
#include <entrain/nn/reference.hpp>

#include "device_test.hpp"

// Activations, dropout and squared error on the device, against the plain loops.

using namespace entrain;
using nn::ops::activation_kind;
using test::on_device;
using test::plain;
using test::queue;

namespace {

// Held against the plain loops in double on the same (rounded) values.
template <class>
using exact = double;
template <class T>
std::vector<exact<T>> as_exact(const std::vector<T>& values) {
  return {values.begin(), values.end()};
}
template <class T>
constexpr double tolerance = sizeof(T) == 8 ? 1e-13 : sizeof(T) == 4 ? 1e-5 : 1e-2;
template <class T>
std::vector<T> without_first(std::vector<T> values, std::size_t skip) {
  values.erase(values.begin(), values.begin() + std::ptrdiff_t(skip));
  return values;
}

template <class T>
void check_activation(nn::ops::activation op, std::size_t skip) {
  CAPTURE(sizeof(T), int(op.kind), op.count, skip);
  const auto in = test::normal_values<T>(op.count + skip, 1, 4), dout = test::normal_values<T>(op.count + skip, 2);
  const auto e_in = without_first(as_exact(in), skip), e_dout = without_first(as_exact(dout), skip);
  std::vector<exact<T>> out(op.count), din(op.count);
  forward(plain, op, e_in.data(), out.data());
  backward(plain, op, e_in.data(), e_dout.data(), din.data());

  const on_device<T> d_in(in), d_dout(dout);
  const auto d_out = on_device<T>::poisoned(op.count + skip), d_din = on_device<T>::poisoned(op.count + skip);
  const T* const from = d_in.data() + skip;
  const T* const gradient = d_dout.data() + skip;
  forward(queue(), op, from, d_out.data() + skip);
  CHECK(test::distance(without_first(d_out.host(), skip), out) <= tolerance<T>);
  backward(queue(), op, from, gradient, d_din.data() + skip);
  CHECK(test::distance(without_first(d_din.host(), skip), din) <= tolerance<T>);
  backward(queue(), op, from, gradient, d_dout.data() + skip);  // both in place
  forward(queue(), op, from, d_in.data() + skip);
  CHECK(test::distance(d_in.host(), [&] { auto all = d_out.host(); for (std::size_t i = 0; i < skip; ++i) all[i] = in[i]; return all; }()) == 0);
  CHECK(test::distance(without_first(d_dout.host(), skip), without_first(d_din.host(), skip)) == 0);
}

template <class T>
void check_dropout(std::size_t count, float probability, std::uint64_t first, std::size_t skip) {
  CAPTURE(sizeof(T), count, probability, first, skip);
  const nn::ops::dropout op{count, probability, random_stream(3, purpose::dropout, 5, 11), first};
  const auto in = test::normal_values<T>(count + skip, 1);
  const auto e_in = without_first(as_exact(in), skip);
  std::vector<exact<T>> expected(count);
  apply(plain, op, e_in.data(), expected.data());
  const on_device<T> d_in(in);
  const auto d_out = on_device<T>::poisoned(count + skip);
  apply(queue(), op, static_cast<const T*>(d_in.data() + skip), d_out.data() + skip);
  const auto out = without_first(d_out.host(), skip);
  CHECK(test::distance(out, expected) <= tolerance<T>);
  std::size_t differ = 0;
  for (std::size_t i = 0; i < count; ++i) differ += (exact<T>(out[i]) == 0) != (expected[i] == 0);
  CHECK(differ == 0);
  apply(queue(), op, static_cast<const T*>(d_in.data() + skip), d_in.data() + skip);
  CHECK(test::distance(without_first(d_in.host(), skip), out) == 0);
}

template <class T>
void check_squared_error(nn::ops::squared_error op, std::size_t skip) {
  CAPTURE(sizeof(T), op.rows, op.width, skip);
  const std::size_t n = op.rows * op.width;
  const auto prediction = test::normal_values<T>(n + skip, 1), target = test::normal_values<T>(n + skip, 2);
  const auto e_prediction = without_first(as_exact(prediction), skip), e_target = without_first(as_exact(target), skip);
  std::vector<exact<T>> gradient(n);
  const loss_sum expected = forward_backward(plain, op, e_prediction.data(), e_target.data(), gradient.data());
  const on_device<T> d_prediction(prediction), d_target(target);
  const auto d_gradient = on_device<T>::poisoned(n + skip);
  const T* const p = d_prediction.data() + skip;
  const T* const t = d_target.data() + skip;
  const loss_sum loss = forward_backward(queue(), op, p, t, d_gradient.data() + skip), again = forward(queue(), op, p, t);
  CHECK(loss.sum == Approx(expected.sum).epsilon(1e-6));
  CHECK(loss.count == expected.count);
  CHECK(again.sum == loss.sum);
  CHECK(test::distance(without_first(d_gradient.host(), skip), gradient) <= tolerance<T>);
}

}  // namespace

TEST_CASE("activations on the device are those of the plain loops", "[device]") {
  for (const auto kind : {activation_kind::relu, activation_kind::gelu, activation_kind::silu, activation_kind::tanh})
    for (const std::size_t count : {0, 1, 7, 8, 255, 4099})
      for (const std::size_t skip : {0, 1}) {
        check_activation<float>({kind, count}, skip);
        check_activation<bfloat16>({kind, count}, skip);
        check_activation<double>({kind, count}, skip);
      }
}

TEST_CASE("activations far from zero stay numbers", "[device]") {
  const std::vector<float> in{-1e4f, -100, -20, 20, 100, 1e4f};
  for (const auto kind : {activation_kind::relu, activation_kind::gelu, activation_kind::silu, activation_kind::tanh}) {
    CAPTURE(int(kind));
    const nn::ops::activation op{kind, in.size()};
    const std::vector<float> ones(in.size(), 1.0f);
    std::vector<float> out(in.size()), din(in.size());
    forward(plain, op, in.data(), out.data());
    backward(plain, op, in.data(), ones.data(), din.data());
    const on_device<float> d_in(in), d_ones(ones);
    const auto d_out = on_device<float>::poisoned(in.size()), d_din = on_device<float>::poisoned(in.size());
    forward(queue(), op, static_cast<const float*>(d_in.data()), d_out.data());
    backward(queue(), op, static_cast<const float*>(d_in.data()), static_cast<const float*>(d_ones.data()), d_din.data());
    CHECK(test::distance(d_out.host(), out) <= 1e-5);
    CHECK(test::distance(d_din.host(), din) <= 1e-5);
  }
}

TEST_CASE("dropout on the device draws the host's numbers", "[device]") {
  for (const std::size_t count : {0, 1, 3, 8, 1000, 4099})
    for (const std::uint64_t first : {0, 1, 6, 4096, 4099})
      for (const std::size_t skip : {0, 1}) {
        check_dropout<float>(count, 0.3f, first, skip);
        check_dropout<bfloat16>(count, 0.1f, first, skip);
        check_dropout<double>(count, 0.5f, first, skip);
      }
  check_dropout<float>(1000, 0.0f, (std::uint64_t(1) << 33) + 3, 0);
}

TEST_CASE("squared error on the device is that of the plain loops", "[device]") {
  for (const std::size_t skip : {0, 1})
    for (const auto& op : {nn::ops::squared_error{0, 4}, nn::ops::squared_error{1, 1}, nn::ops::squared_error{5, 7}, nn::ops::squared_error{40, 130}, nn::ops::squared_error{40, 130, 8192}}) {
      check_squared_error<float>(op, skip);
      check_squared_error<bfloat16>(op, skip);
      check_squared_error<double>(op, skip);
    }
}
