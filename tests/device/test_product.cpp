// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <tuple>
#include <type_traits>

#include <entrain/device/nn/convert.cuh>
#include <entrain/device/nn/product.cuh>
#include <entrain/nn/reference.hpp>

#include "device_test.hpp"

// Products and sums on the device, against the plain loops.

using namespace entrain;
using test::on_device;

namespace {

const engine::cuda_queue& queue() {
  static const engine::cuda_queue q = engine::cuda{}.start();
  return q;
}
constexpr engine::reference plain;

template <class T>
using exact = std::conditional_t<(sizeof(T) < 4), float, T>;
template <class T>
std::vector<exact<T>> as_exact(const std::vector<T>& values) {
  return {values.begin(), values.end()};
}
template <class T>
const T* constant(const on_device<T>& memory) {
  return memory.data();
}

template <class T>
void check_gemm(nn::ops::gemm op, double tolerance) {
  CAPTURE(op.transpose_a, op.transpose_b, op.m, op.n, op.k, op.lda, op.ldb, op.ldc, op.alpha, op.beta);
  const std::size_t n_a = (op.transpose_a ? op.k : op.m) * op.lda, n_b = (op.transpose_b ? op.n : op.k) * op.ldb, n_c = op.m * op.ldc;
  const auto a = test::normal_values<T>(n_a, 1), b = test::normal_values<T>(n_b, 2), c = test::normal_values<T>(n_c, 3);
  const on_device<T> d_a(a), d_b(b), d_c(c);
  auto e_c = as_exact(c);
  const auto e_a = as_exact(a), e_b = as_exact(b);
  run(plain, op, e_a.data(), e_b.data(), e_c.data());
  run(queue(), op, constant(d_a), constant(d_b), d_c.data());
  CHECK(test::distance(d_c.host(), e_c) <= tolerance);
}

template <class T>
void check_all(double tolerance) {
  for (const bool ta : {false, true})
    for (const bool tb : {false, true})
      for (const auto& [m, n, k] : {std::tuple<std::size_t, std::size_t, std::size_t>{1, 1, 1}, {3, 5, 7}, {33, 16, 9}, {16, 64, 32}, {4, 4, 0}, {0, 3, 2}, {3, 0, 2}})
        for (const std::size_t more : {0, 3})
          for (const float beta : {0.0f, 1.0f, -0.5f}) {
            nn::ops::gemm op{ta, tb, m, n, k, (ta ? m : k) + more, (tb ? k : n) + more, n + more, 1.5f, beta};
            if (op.lda == 0 || op.ldb == 0 || op.ldc == 0) continue;
            check_gemm<T>(op, tolerance);
          }
}

}  // namespace

TEST_CASE("matrix products on the device are those of the plain loops", "[device]") {
  check_all<float>(1e-5);
  check_all<double>(1e-12);
  check_all<bfloat16>(1e-2);
}

TEST_CASE("a product overwrites what it does not add to, NaNs too", "[device]") {
  const on_device<float> a(test::normal_values<float>(12, 1)), b(test::normal_values<float>(20, 2));
  const auto c = on_device<float>::poisoned(15);
  run(queue(), nn::ops::gemm{false, false, 3, 5, 4, 4, 5, 5, 1, 0}, constant(a), constant(b), c.data());
  for (const float v : c.host()) CHECK(std::isfinite(v));
  const auto d = on_device<float>::poisoned(15);
  run(queue(), nn::ops::gemm{false, false, 3, 5, 0, 1, 5, 5, 1, 0}, constant(a), constant(b), d.data());
  for (const float v : d.host()) CHECK(v == 0.0f);
}

TEST_CASE("affine, broadcast, sums of columns and of arrays", "[device]") {
  for (const std::size_t rows : {0, 1, 7, 300})
    for (const std::size_t width : {1, 5, 33, 64}) {
      CAPTURE(rows, width);
      const std::size_t inputs = 6;
      const auto in = test::normal_values<float>(rows * inputs, 1), weight = test::normal_values<float>(inputs * width, 2), bias = test::normal_values<float>(width, 3);
      const on_device<float> d_in(in), d_weight(weight), d_bias(bias);
      std::vector<float> out(rows * width), wide(rows * width);
      const auto d_out = on_device<float>::poisoned(out.size()), d_wide = on_device<float>::poisoned(out.size());
      run(plain, nn::ops::broadcast_rows{rows, width}, bias.data(), out.data());
      run(queue(), nn::ops::broadcast_rows{rows, width}, constant(d_bias), d_wide.data());
      CHECK(test::distance(d_wide.host(), out) == 0);
      run(plain, nn::ops::gemm{false, false, rows, width, inputs, inputs, width, width, 1, 1}, in.data(), weight.data(), out.data());
      run(queue(), nn::ops::affine{rows, inputs, width}, constant(d_in), constant(d_weight), constant(d_bias), d_out.data());
      CHECK(test::distance(d_out.host(), out) <= 1e-5);
      for (const bool accumulate : {false, true}) {
        auto sums = accumulate ? bias : std::vector<float>(width, NAN);
        const on_device<float> d_sums(sums);
        run(plain, nn::ops::column_sum{rows, width, accumulate}, out.data(), sums.data());
        const on_device<float> d_rows(out);
        run(queue(), nn::ops::column_sum{rows, width, accumulate}, constant(d_rows), d_sums.data());
        CHECK(test::distance(d_sums.host(), sums) <= 1e-4);
      }
    }
  for (const std::size_t n : {0, 1, 7, 1000})
    for (const std::size_t skip : {0, 1}) {
      const auto a = test::normal_values<bfloat16>(n + skip, 1), b = test::normal_values<bfloat16>(n + skip, 2);
      const on_device<bfloat16> d_a(a), d_b(b);
      run(queue(), nn::ops::add{n}, constant(d_a) + skip, constant(d_b) + skip, d_a.data() + skip);
      const auto sum = d_a.host();
      for (std::size_t i = 0; i < n; ++i) REQUIRE(float(sum[i + skip]) == float(bfloat16(float(a[i + skip]) + float(b[i + skip]))));
    }
}

TEST_CASE("other number formats", "[device]") {
  const auto values = test::normal_values<float>(777);
  const on_device<float> d(values);
  const auto rounded = on_device<bfloat16>::poisoned(777);
  run(queue(), nn::ops::convert{777}, constant(d), rounded.data());
  const auto found = rounded.host();
  for (std::size_t i = 0; i < 777; ++i) REQUIRE(found[i].bits == bfloat16(values[i]).bits);
}

TEST_CASE("after the first product of a shape nothing is made", "[device]") {
  const auto q = engine::cuda{}.start();
  const on_device<float> a(test::normal_values<float>(64, 1)), b(test::normal_values<float>(64, 2)), c(test::normal_values<float>(64, 3));
  const nn::ops::gemm op{false, true, 8, 8, 8, 8, 8, 8, 1, 0};
  run(q, op, constant(a), constant(b), c.data());
  const auto plans = q.context().plan_count();
  CHECK(plans == 1);
  run(q, op, constant(a), constant(b), c.data());
  CHECK(q.context().plan_count() == plans);
}
