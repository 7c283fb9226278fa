// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <type_traits>

#include <entrain/device/nn/convert.cuh>
#include <entrain/device/nn/product.cuh>
#include <entrain/nn/reference.hpp>

#include "device_test.hpp"

// Products and sums on the device, against the plain loops.

using namespace entrain;
using test::as_exact;
using test::constant;
using test::exact;
using test::on_device;
using test::plain;
using test::queue;

namespace {

// Against the plain loops on the same values, in float at least.
template <class T, class Out = T>
void check_gemm(nn::ops::gemm op, double tolerance) {
  CAPTURE(op.transpose_a, op.transpose_b, op.m, op.n, op.k, op.lda, op.ldb, op.ldc, op.alpha, op.beta);
  const std::size_t n_a = (op.transpose_a ? op.k : op.m) * op.lda, n_b = (op.transpose_b ? op.n : op.k) * op.ldb, n_c = op.m * op.ldc;
  const auto a = test::normal_values<T>(n_a, 1), b = test::normal_values<T>(n_b, 2);
  auto c = test::normal_values<Out>(n_c, 3);
  for (std::size_t i = 0; op.beta == 0 && i < n_c; ++i)
    if (i % op.ldc < op.n) c[i] = Out(std::numeric_limits<float>::quiet_NaN());  // to be overwritten, not scaled
  const on_device<T> d_a(a), d_b(b);
  const on_device<Out> d_c(c);
  auto e_c = as_exact(c);
  const auto e_a = as_exact(a), e_b = as_exact(b);
  run(plain, op, e_a.data(), e_b.data(), e_c.data());
  run(queue(), op, constant(d_a), constant(d_b), d_c.data());
  CHECK(test::distance(d_c.host(), e_c) <= tolerance);
}

template <class T, class Out = T>
void check_all(double tolerance) {
  constexpr std::size_t sizes[] = {0, 1, 7, 33, 64};
  constexpr float factors[] = {0.0f, 1.0f, -0.5f};
  std::size_t turn = 0;
  for (const bool ta : {false, true})
    for (const bool tb : {false, true})
      for (const std::size_t m : sizes)
        for (const std::size_t n : sizes)
          for (const std::size_t k : sizes) {
            const std::size_t more = turn % 2 * 3;  // rows further apart than they are wide
            const auto ld = [&](std::size_t width) { return std::max<std::size_t>(1, width) + more; };
            check_gemm<T, Out>({ta, tb, m, n, k, ld(ta ? m : k), ld(tb ? k : n), ld(n), turn % 4 < 2 ? 1.0f : 1.5f, factors[turn % 3]}, tolerance);
            ++turn;
          }
}

}  // namespace

TEST_CASE("matrix products on the device are those of the plain loops", "[device]") {
  check_all<float>(1e-5);
  check_all<double>(1e-12);
  check_all<bfloat16>(1e-2);
  check_all<float16>(2e-3);
  check_all<bfloat16, float>(1e-5);
  check_all<float16, float>(1e-5);
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

namespace {

// [rows, width] from element `skip` on; the sums are held against sums in double.
template <class T>
void check_column_sum(const engine::cuda_queue& q, std::size_t rows, std::size_t width, std::size_t skip, double tolerance) {
  CAPTURE(rows, width, skip, sizeof(T));
  const auto in = test::normal_values<T>(rows * width + skip, 1);
  const on_device<T> d_in(in);
  for (const bool accumulate : {false, true}) {
    const auto before = accumulate ? test::normal_values<T>(width, 2) : std::vector<T>(width, T(std::numeric_limits<float>::quiet_NaN()));
    std::vector<double> expected(width, 0.0);
    for (std::size_t j = 0; accumulate && j < width; ++j) expected[j] = double(before[j]);
    for (std::size_t r = 0; r < rows; ++r)
      for (std::size_t j = 0; j < width; ++j) expected[j] += double(in[skip + r * width + j]);
    std::vector<T> found[2];
    for (auto& f : found) {
      const on_device<T> d_out(before);
      run(q, nn::ops::column_sum{rows, width, accumulate}, constant(d_in) + skip, d_out.data());
      f = d_out.host();
    }
    CHECK(test::distance(found[0], expected) <= tolerance);
    CHECK(std::memcmp(found[0].data(), found[1].data(), width * sizeof(T)) == 0);
  }
}

}  // namespace

TEST_CASE("sums of columns of many rows, in parts where there is a workspace", "[device]") {
  for (const auto& q : {queue(), queue().beside()}) {
    for (const std::size_t rows : {1, 31, 64, 1001})
      for (const std::size_t width : {1, 24, 129, 272}) {
        check_column_sum<bfloat16>(q, rows, width, 0, 1e-2);
        check_column_sum<float>(q, rows, width, 0, 1e-5);
        check_column_sum<float>(q, rows, width, 1, 1e-5);
      }
    check_column_sum<double>(q, 777, 66, 0, 1e-13);
    check_column_sum<float16>(q, 777, 72, 8, 2e-3);
    check_column_sum<bfloat16>(q, 4000, 768, 0, 1e-2);
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
