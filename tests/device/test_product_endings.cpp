// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"
#if !defined(__CUDACC__)
#include "../counted_allocations.hpp"
#endif

#include <cstring>
#include <limits>
#include <type_traits>
#include <vector>

#include <entrain/device/nn/product.cuh>
#include <entrain/nn/reference.hpp>

#include "device_test.hpp"

// What follows a product within cuBLASLt's kernel, against the same steps taken one by one; and what a product may not do: make
// anything twice, leave its algorithm's promises, use a workspace that is not its own. On a card a refused ending is no failure: the library
// may have none for a shape.

using namespace entrain;
using test::as_exact;
using test::constant;
using test::exact;
using test::on_device;
using test::plain;
using test::queue;

namespace {

#if defined(__CUDACC__)
constexpr bool on_a_card = true;
#else
constexpr bool on_a_card = false;
#endif

template <class T>
std::vector<T> nan_values(std::size_t n) {
  return std::vector<T>(n, T(std::numeric_limits<float>::quiet_NaN()));
}

// A product with everything that its endings need, in dense rows of C and rows of `kept` that are 8 elements further apart.
template <class T, class Out>
struct problem {
  using E = exact<Out>;
  engine::product p;
  std::size_t ld_kept;
  std::vector<T> a, b;
  std::vector<Out> c, bias, kept;
  std::vector<E> x;  // alpha * op(A) * op(B) + beta * C
  on_device<T> d_a, d_b;
  on_device<Out> d_bias;

  problem(bool ta, bool tb, std::size_t m, std::size_t n, std::size_t k, double beta)
      : p{ta, tb, m, n, k, (ta ? m : k) + 1, (tb ? k : n) + 1, n + 3, 0.5, beta},
        ld_kept((n + 15) / 8 * 8),
        a(test::normal_values<T>((ta ? k : m) * p.lda, 1)),
        b(test::normal_values<T>((tb ? n : k) * p.ldb, 2)),
        c(test::normal_values<Out>(m * p.ldc, 3)),
        bias(test::normal_values<Out>(n, 4)),
        kept(test::normal_values<Out>(m * ld_kept, 5)),
        x(as_exact(c)),
        d_a(a), d_b(b), d_bias(bias) {
    const nn::ops::gemm op{ta, tb, m, n, k, p.lda, p.ldb, p.ldc, float(p.alpha), float(beta)};
    std::vector<E> e_a(a.begin(), a.end()), e_b(b.begin(), b.end());
    run(plain, op, e_a.data(), e_b.data(), x.data());
  }
  // f(i, j, x): what C should be, from x, in a copy of C whose other elements stay.
  template <class F>
  std::vector<E> expected(F f) const {
    auto out = as_exact(c);
    for (std::size_t i = 0; i < p.m; ++i)
      for (std::size_t j = 0; j < p.n; ++j) out[i * p.ldc + j] = f(i, j, x[i * p.ldc + j]);
    return out;
  }
  bool multiply(const on_device<Out>& to, const engine::ending<Out>& end) const { return engine::multiply(queue(), p, constant(d_a), constant(d_b), to.data(), end); }
};

template <class E>
E gelu(E v) {
  E out;
  forward(plain, nn::ops::activation{nn::ops::activation_kind::gelu, 1}, &v, &out);
  return out;
}
template <class E>
E gelu_slope(E v, E dout) {
  E din;
  backward(plain, nn::ops::activation{nn::ops::activation_kind::gelu, 1}, &v, &dout, &din);
  return din;
}

template <class T, class Out>
void check_endings(const problem<T, Out>& q, double tolerance) {
  using E = exact<Out>;
  using end = engine::ending<Out>;
  CAPTURE(q.p.transpose_a, q.p.transpose_b, q.p.m, q.p.n, q.p.k, q.p.beta, sizeof(T), sizeof(Out));
  constexpr bool all = !std::is_same_v<T, double>;

  on_device<Out> out(q.c);
  if (q.multiply(out, end::bias(q.d_bias.data()))) {
    CHECK(test::distance(out.host(), q.expected([&](std::size_t, std::size_t j, E v) { return v + E(q.bias[j]); })) <= tolerance);
  } else CHECK(on_a_card);

  out.set(q.c);
  const on_device<Out> kept(q.kept);
  if (q.multiply(out, end::bias_gelu(q.d_bias.data(), kept.data(), q.ld_kept))) {
    CHECK(test::distance(out.host(), q.expected([&](std::size_t, std::size_t j, E v) { return gelu(v + E(q.bias[j])); })) <= tolerance);
    auto inputs = as_exact(q.kept);
    for (std::size_t i = 0; i < q.p.m; ++i)
      for (std::size_t j = 0; j < q.p.n; ++j) inputs[i * q.ld_kept + j] = q.x[i * q.p.ldc + j] + E(q.bias[j]);
    CHECK(test::distance(kept.host(), inputs) <= tolerance);
  } else CHECK((on_a_card || !all));

  out.set(q.c);
  const on_device<Out> before(q.kept);
  if (q.multiply(out, end::gelu_slope(before.data(), q.ld_kept))) {
    CHECK(test::distance(out.host(), q.expected([&](std::size_t i, std::size_t j, E v) { return gelu_slope(E(q.kept[i * q.ld_kept + j]), v); })) <= tolerance);
    CHECK(test::distance(before.host(), q.kept) == 0);
  } else CHECK((on_a_card || !all));

  out.set(q.c);
  const on_device<Out> sums(nan_values<Out>(q.p.n));
  if (q.multiply(out, end::bias_gradient(sums.data()))) {
    CHECK(test::distance(out.host(), q.expected([](std::size_t, std::size_t, E v) { return v; })) <= tolerance);
    std::vector<E> expected(q.p.n, E(0));
    for (std::size_t l = 0; l < q.p.k; ++l)
      for (std::size_t j = 0; j < q.p.n; ++j) expected[j] += E(q.b[q.p.transpose_b ? j * q.p.ldb + l : l * q.p.ldb + j]);
    CHECK(test::distance(sums.host(), expected) <= tolerance);
  } else CHECK((on_a_card || !all));
}

template <class T, class Out = T>
void check_shapes(double tolerance) {
  struct sizes { std::size_t m, n, k; };
  for (const auto [m, n, k] : {sizes{1, 1, 1}, {33, 8, 17}, {5, 64, 64}, {64, 31, 100}})
    for (const bool ta : {false, true})
      for (const bool tb : {false, true})
        for (const double beta : {0.0, -0.5}) check_endings(problem<T, Out>(ta, tb, m, n, k, beta), tolerance);
}

}  // namespace

TEST_CASE("endings of products are what separate steps give", "[device]") {
  check_shapes<float>(1e-5);
  check_shapes<double>(1e-12);
  check_shapes<bfloat16>(2e-2);
  check_shapes<float16>(4e-3);
  check_shapes<bfloat16, float>(1e-5);
}

TEST_CASE("an ending that is not to be had leaves all as it was", "[device]") {
  using end = engine::ending<float>;
  const problem<float, float> q(false, false, 4, 12, 5, 0);
  const on_device<float> out(q.c), kept(q.kept);
  CHECK_FALSE(q.multiply(out, end::bias_gelu(q.d_bias.data(), kept.data(), 12)));  // rows 12 elements apart
  CHECK_FALSE(q.multiply(out, end::gelu_slope(kept.data(), 12)));
  CHECK(test::distance(out.host(), q.c) == 0);
  const problem<double, double> twice(false, false, 4, 8, 5, 0);
  const on_device<double> out_twice(twice.c), kept_twice(twice.kept);
  CHECK_FALSE(twice.multiply(out_twice, engine::ending<double>::bias_gelu(twice.d_bias.data(), kept_twice.data(), 8)));
  CHECK(test::distance(out_twice.host(), twice.c) == 0);
}

TEST_CASE("a product of nothing is refused where nothing can be said of its ending", "[device]") {
  const problem<float, float> q(false, false, 4, 8, 5, 0);
  const on_device<float> out(q.c);
  auto p = q.p;
  p.k = 0;
  CHECK_THROWS_AS((void)engine::multiply(queue(), p, constant(q.d_a), constant(q.d_b), out.data()), usage_error);
  p = q.p;
  p.ldc = 7;
  CHECK_THROWS_AS((void)engine::multiply(queue(), p, constant(q.d_a), constant(q.d_b), out.data()), engine::cuda_error);  // rows of C overlap
}

TEST_CASE("an affine map at every width and at addresses that are not aligned", "[device]") {
  for (const std::size_t inputs : {0, 1, 9, 64})
    for (const std::size_t outputs : {0, 1, 12, 33})
      for (const std::size_t skip : {0, 1}) {
        CAPTURE(inputs, outputs, skip);
        const std::size_t rows = 6;
        const auto in = test::normal_values<float>(rows * inputs + skip, 1), weight = test::normal_values<float>(inputs * outputs + skip, 2), bias = test::normal_values<float>(outputs + skip, 3);
        const on_device<float> d_in(in), d_weight(weight), d_bias(bias), d_out(nan_values<float>(rows * outputs + skip));
        std::vector<float> out(rows * outputs);
        run(plain, nn::ops::broadcast_rows{rows, outputs}, bias.data() + skip, out.data());
        run(plain, nn::ops::gemm{false, false, rows, outputs, inputs, inputs, outputs, outputs, 1, 1}, in.data() + skip, weight.data() + skip, out.data());
        run(queue(), nn::ops::affine{rows, inputs, outputs}, constant(d_in) + skip, constant(d_weight) + skip, constant(d_bias) + skip, d_out.data() + skip);
        auto found = d_out.host();
        found.erase(found.begin(), found.begin() + std::ptrdiff_t(skip));
        CHECK(test::distance(found, out) <= 1e-5);
      }
}

TEST_CASE("each address may be aligned otherwise than when the shape was first seen", "[device]") {
  const auto q = engine::cuda{}.start();
  const std::size_t n = 16;
  const auto a = test::normal_values<float>(n * n + 1, 1), b = test::normal_values<float>(n * n + 1, 2), bias = test::normal_values<float>(n + 1, 3);
  const on_device<float> d_a(a), d_b(b), d_bias(bias), kept(nan_values<float>(n * n + 1)), c(nan_values<float>(n * n + 1));
  std::vector<float> x(n * n);
  for (const int moved : {-1, 0, 1, 2, 3, 4}) {
    CAPTURE(moved);
    const auto skip = [moved](int which) { return which == moved ? 1 : 0; };
    run(plain, nn::ops::broadcast_rows{n, n}, bias.data() + skip(2), x.data());
    run(plain, nn::ops::gemm{false, false, n, n, n, n, n, n, 1, 1}, a.data() + skip(0), b.data() + skip(1), x.data());
    const engine::product p{false, false, n, n, n, n, n, n, 1, 0};
    if (!engine::multiply(q, p, constant(d_a) + skip(0), constant(d_b) + skip(1), c.data() + skip(3), engine::ending<float>::bias_gelu(d_bias.data() + skip(2), kept.data() + skip(4), n))) {
      CHECK((on_a_card || moved == 4));
      continue;
    }
    CHECK(moved != 4);  // a kept matrix begins at 16 bytes
    auto inputs = kept.host(), out = c.host();
    inputs.pop_back(), out.erase(skip(3) == 1 ? out.begin() : out.end() - 1);
    CHECK(test::distance(inputs, x) <= 1e-5);
    for (float& v : x) v = gelu(v);
    CHECK(test::distance(out, x) <= 1e-5);
  }
  CHECK(q.context().plan_count() == 5);
}

TEST_CASE("TF32 is used when asked for, and for floats alone", "[device]") {
  const auto fast = engine::cuda{.device = 0, .tensor_float = true}.start();
  const std::size_t n = 64;
  const nn::ops::gemm op{false, false, n, n, n, n, n, n, 1, 0};
  const auto a = test::normal_values<float>(n * n, 1), b = test::normal_values<float>(n * n, 2);
  const on_device<float> d_a(a), d_b(b), d_c(nan_values<float>(n * n));
  std::vector<float> c(n * n);
  run(plain, op, a.data(), b.data(), c.data());
  run(fast, op, constant(d_a), constant(d_b), d_c.data());
  const double error = test::distance(d_c.host(), c);
  CHECK(error <= 2e-3);
  CHECK((on_a_card || error >= 1e-5));
  const auto twice = test::normal_values<double>(n * n, 1);
  const on_device<double> d_twice(twice), d_out(nan_values<double>(n * n));
  std::vector<double> out(n * n);
  run(plain, op, twice.data(), twice.data(), out.data());
  run(fast, op, constant(d_twice), constant(d_twice), d_out.data());
  CHECK(test::distance(d_out.host(), out) <= 1e-12);
}

TEST_CASE("a product beside the arithmetic leaves the workspace alone", "[device]") {
  const auto beside = queue().beside();
  CHECK(beside.workspace().empty());
  const std::size_t n = 96, bytes = 8192;
  std::vector<unsigned char> mark(bytes, 0x5a), found(bytes);
  auto* workspace = queue().workspace().data();
  engine::cuda_check(cudaMemcpy(workspace, mark.data(), bytes, cudaMemcpyHostToDevice), "cudaMemcpy");
  const nn::ops::gemm op{true, false, n, n, n, n, n, n, 1, 0};
  const auto a = test::normal_values<float>(n * n, 1), b = test::normal_values<float>(n * n, 2);
  const on_device<float> d_a(a), d_b(b), d_c(nan_values<float>(n * n));
  std::vector<float> c(n * n);
  run(plain, op, a.data(), b.data(), c.data());
  run(beside, op, constant(d_a), constant(d_b), d_c.data());
  CHECK(test::distance(d_c.host(), c) <= 1e-5);
  engine::cuda_check(cudaMemcpy(found.data(), workspace, bytes, cudaMemcpyDeviceToHost), "cudaMemcpy");
  CHECK(found == mark);
}

TEST_CASE("the second product of a shape makes nothing, asks nothing, and gives the same bits", "[device]") {
  const auto q = engine::cuda{}.start();
  const std::size_t m = 40, n = 24, k = 72;
  const on_device<float> a(test::normal_values<float>(m * k, 1)), b(test::normal_values<float>(k * n, 2)), other(test::normal_values<float>(k * n, 3)), c(nan_values<float>(m * n));
  const on_device<float> bias(test::normal_values<float>(n, 4)), other_bias(test::normal_values<float>(n, 5)), kept(nan_values<float>(m * n));
  using end = engine::ending<float>;
  const engine::product p{false, false, m, n, k, k, n, n, 1, 0};
  const auto step = [&](const on_device<float>& weight, const on_device<float>& vector) {
    run(q, nn::ops::gemm{false, false, m, n, k, k, n, n, 1, 0}, constant(a), constant(weight), c.data());
    run(q, nn::ops::affine{m, k, n}, constant(a), constant(weight), constant(vector), c.data());
    (void)engine::multiply(q, p, constant(a), constant(weight), c.data(), end::bias_gelu(vector.data(), kept.data(), n));
    (void)engine::multiply(q, p, constant(a), constant(weight), c.data(), end::gelu_slope(kept.data(), n));
  };
  step(b, bias);
  const auto first = c.host();
  CHECK(q.context().plan_count() == 4);
#if !defined(__CUDACC__)
  const long created = emulated::blas_created, searches = emulated::blas_searches, products = emulated::blas_products, device_memory = emulated::allocations;
  test::counting = true;
  test::allocations = 0;
  step(other, other_bias);
  step(b, bias);
  test::counting = false;
  CHECK(test::allocations == 0);
  CHECK(emulated::blas_created == created);
  CHECK(emulated::blas_searches == searches);
  CHECK(emulated::blas_products == products + 8);
  CHECK(emulated::allocations == device_memory);
#else
  step(other, other_bias);
  step(b, bias);
#endif
  CHECK(q.context().plan_count() == 4);
  CHECK(std::memcmp(first.data(), c.host().data(), first.size() * sizeof(float)) == 0);
}

#if !defined(__CUDACC__)
TEST_CASE("what a context made of cuBLASLt goes with it", "[device]") {
  const long alive = emulated::blas_alive;
  {
    const auto q = engine::cuda{}.start();
    const on_device<float> a(test::normal_values<float>(64, 1)), c(nan_values<float>(64));
    run(q, nn::ops::gemm{false, false, 8, 8, 8, 8, 8, 8, 1, 0}, constant(a), constant(a), c.data());
    CHECK_THROWS_AS(run(q, nn::ops::gemm{false, false, 8, 8, 8, 8, 8, 3, 1, 0}, constant(a), constant(a), c.data()), engine::cuda_error);
    CHECK(emulated::blas_alive > alive);
  }
  CHECK(emulated::blas_alive == alive);
}
#endif
