// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include <entrain/comm/self.hpp>
#include <entrain/device/device.cuh>
#include <entrain/nn/gpt.hpp>
#include <entrain/optim/optim.hpp>
#include <entrain/trainer/trainer.hpp>

#include "../trainer/models.hpp"
#include "device_test.hpp"

// Products of factors rounded to 8 bits: the factors bit for bit as the host rounds them, the product as a plain sum over those; and what
// does not fit computed in bfloat16 as if nothing had been asked for.

using namespace entrain;
using nn::ops::eight_bits;
using test::constant;
using test::on_device;

namespace {

const engine::cuda_queue& without() {
  static const engine::cuda_queue q = engine::cuda{}.start();
  return q;
}
const engine::cuda_queue& with() {
  static const engine::cuda_queue q = without().with_float8_products();
  return q;
}

// How many products have had factors of 8 bits; on a card that is not counted.
long products_of_8_bits() {
#if defined(__CUDACC__)
  return 0;
#else
  return emulated::blas_products_of_8_bits;
#endif
}
constexpr bool counted =
#if defined(__CUDACC__)
    false;
#else
    true;
#endif

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && std::memcmp(static_cast<const void*>(a.data()), static_cast<const void*>(b.data()), a.size() * sizeof(T)) == 0;
}

// What the device is to do, said plainly: the scale is tried downwards from the largest power of two.
template <class F>
struct rounded {
  std::vector<F> values;
  double scale = 1;
  explicit rounded(const std::vector<bfloat16>& in) {
    double largest = 0;
    for (const bfloat16 x : in) largest = std::fmax(largest, std::fabs(double(float(x))));
    for (int e = 126; largest > 0 && e >= -126; --e)
      if (scale = std::ldexp(1.0, e); largest * scale <= double(largest_of<F>)) break;
    for (const bfloat16 x : in) values.push_back(F(float(double(float(x)) * scale)));
  }
  double at(std::size_t i) const { return double(float(values[i])) / scale; }
};

struct problem {
  engine::product p;
  std::vector<bfloat16> a, b;
  problem(bool ta, bool tb, std::size_t m, std::size_t n, std::size_t k, double alpha = 1, double beta = 0)
      : p{ta, tb, m, n, k, ta ? m : k, tb ? k : n, n, alpha, beta}, a(test::normal_values<bfloat16>(m * k, 1, 3)), b(test::normal_values<bfloat16>(k * n, 2, 0.02)) {}
  nn::ops::gemm gemm(eight_bits factors) const { return {p.transpose_a, p.transpose_b, p.m, p.n, p.k, p.lda, p.ldb, p.ldc, float(p.alpha), float(p.beta), factors}; }
  // x(i), y(i): elements of A and B as they are stored
  template <class X, class Y>
  std::vector<double> plainly(const X& x, const Y& y, const std::vector<float>& c) const {
    std::vector<double> out(p.m * p.n);
    for (std::size_t i = 0; i < p.m; ++i)
      for (std::size_t j = 0; j < p.n; ++j) {
        double sum = 0;
        for (std::size_t l = 0; l < p.k; ++l) sum += x(p.transpose_a ? l * p.lda + i : i * p.lda + l) * y(p.transpose_b ? j * p.ldb + l : l * p.ldb + j);
        out[i * p.n + j] = p.alpha * sum + p.beta * double(c[i * p.n + j]);
      }
    return out;
  }
};

double frobenius(const std::vector<double>& found, const std::vector<double>& expected) {
  double off = 0, all = 0;
  for (std::size_t i = 0; i < found.size(); ++i) off += (found[i] - expected[i]) * (found[i] - expected[i]), all += expected[i] * expected[i];
  return std::sqrt(off / all);
}

template <class A, class B, class Out>
void check_product(const problem& q, eight_bits factors) {
  CAPTURE(q.p.transpose_a, q.p.transpose_b, q.p.m, q.p.n, q.p.k, q.p.beta, int(factors), sizeof(Out));
  const rounded<A> a(q.a);
  const rounded<B> b(q.b);
  const auto c = test::normal_values<Out>(q.p.m * q.p.n, 3);
  const on_device<bfloat16> d_a(q.a), d_b(q.b);
  on_device<Out> out(q.p.beta == 0 ? std::vector<Out>(c.size(), Out(std::numeric_limits<float>::quiet_NaN())) : c);
  const long before = products_of_8_bits();
  run(with(), q.gemm(factors), constant(d_a), constant(d_b), out.data());
  if (counted) CHECK(products_of_8_bits() == before + 1);
  const auto host = out.host();
  if (q.p.beta == 0) {
    run(with(), q.gemm(factors), constant(d_a), constant(d_b), out.data());
    CHECK(same_bits(out.host(), host));
  }
  const std::vector<double> found(host.begin(), host.end());
  const std::vector<float> first(c.begin(), c.end());
  const auto same = q.plainly([&](std::size_t i) { return a.at(i); }, [&](std::size_t i) { return b.at(i); }, first);
  const double places = sizeof(Out) == 2 ? 0x1p-8 : 1e-5;  // of the largest
  CHECK(test::distance(found, same) <= places);
  if (q.p.beta != 0) return;
  const auto exact = q.plainly([&](std::size_t i) { return double(float(q.a[i])); }, [&](std::size_t i) { return double(float(q.b[i])); }, first);
  CHECK(frobenius(found, exact) <= (factors == eight_bits::values ? 0.04 : 0.07));
}

template <class F>
void check_rounding(const std::vector<bfloat16>& values, std::size_t rows, std::size_t columns) {
  CAPTURE(rows, columns);
  const rounded<F> expected(values);
  const on_device<bfloat16> in(values);
  const on_device<F> out(std::vector<F>(values.size())), turned(std::vector<F>(values.size()));
  const on_device<engine::float8_scale> scale(std::vector<engine::float8_scale>(2));
  const std::size_t packs = values.size() / 8;
  device::launch(without(), device::largest_magnitudes<bfloat16>, {dim3(3, 2), 256}, constant(in), packs, constant(in), packs / 2, scale.data());
  device::write_in_8_bits(without(), constant(in), out.data(), rows, columns, false, scale.data());
  device::write_in_8_bits(without(), constant(in), turned.data(), rows, columns, true, scale.data());
  CHECK(double(scale.host()[0].inverse) * expected.scale == 1);
  const auto straight = out.host(), transposed = turned.host();
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::uint8_t e = expected.values[i].bits;
    wrong += straight[i].bits != e;
    wrong += transposed[i % columns * rows + i / columns].bits != e;
  }
  CHECK(wrong == 0);
}

}  // namespace

TEST_CASE("the scale is the largest power of two that leaves the largest magnitude within the format", "[device][float8]") {
  const auto check = [](auto format) {
    using F = decltype(format);
    for (unsigned bits = 1; bits < 0x7f80; ++bits) {
      const double largest = double(std::bit_cast<float>(bits << 16)), scale = double(device::scale_to_8_bits<F>(bits));
      const bool within = largest * scale <= double(largest_of<F>), topmost = 2 * largest * scale > double(largest_of<F>) || scale == 0x1p126;
      const bool inverse = scale * double(device::inverse_scale_of_8_bits<F>(bits)) == 1;
      if (!within || !topmost || !inverse) FAIL(bits);
    }
    CHECK(device::scale_to_8_bits<F>(0) == 1);
    CHECK(device::inverse_scale_of_8_bits<F>(0) == 1);
    for (const unsigned bits : {0x7f80u, 0x7f81u, 0x7fffu}) CHECK(std::isnan(device::inverse_scale_of_8_bits<F>(bits)));
  };
  check(float8_e4m3{});
  check(float8_e5m2{});
}

TEST_CASE("factors are rounded as the host rounds them, as they lie and transposed", "[device][float8]") {
  using size = std::pair<std::size_t, std::size_t>;
  for (const auto& [rows, columns] : {size{16, 16}, size{64, 64}, size{80, 48}, size{16, 208}, size{144, 16}, size{128, 192}})
    for (const double spread : {1.0, 1e-6, 1e30, 1e-39}) {
      check_rounding<float8_e4m3>(test::normal_values<bfloat16>(rows * columns, 4, spread), rows, columns);
      check_rounding<float8_e5m2>(test::normal_values<bfloat16>(rows * columns, 5, spread), rows, columns);
    }
  check_rounding<float8_e4m3>(std::vector<bfloat16>(256, bfloat16(0)), 16, 16);
}

TEST_CASE("a product in 8 bits is the plain product of the rounded factors", "[device][float8]") {
  for (const auto& [m, n, k] : {std::array<std::size_t, 3>{16, 16, 64}, {48, 80, 96}, {144, 64, 272}})
    for (const bool ta : {false, true})
      for (const bool tb : {false, true}) {
        check_product<float8_e4m3, float8_e4m3, bfloat16>({ta, tb, m, n, k}, eight_bits::values);
        check_product<float8_e5m2, float8_e4m3, bfloat16>({ta, tb, m, n, k}, eight_bits::gradient_a);
        check_product<float8_e4m3, float8_e5m2, bfloat16>({ta, tb, m, n, k}, eight_bits::gradient_b);
      }
  check_product<float8_e4m3, float8_e5m2, bfloat16>({true, false, 64, 32, 128, 1, 1}, eight_bits::gradient_b);
  check_product<float8_e4m3, float8_e4m3, float>({false, false, 32, 64, 128, 0.5, -1}, eight_bits::values);
}

TEST_CASE("a linear layer in 8 bits adds its bias in the same product", "[device][float8]") {
  const problem q(false, false, 48, 64, 128);
  const auto bias = test::normal_values<bfloat16>(64, 6);
  const on_device<bfloat16> a(q.a), b(q.b), d_bias(bias);
  const auto out = on_device<bfloat16>::poisoned(48 * 64);
  const long before = products_of_8_bits();
  run(with(), nn::ops::affine{48, 128, 64}, constant(a), constant(b), constant(d_bias), out.data());
  if (counted) CHECK(products_of_8_bits() == before + 1);
  const rounded<float8_e4m3> x(q.a), y(q.b);
  auto expected = q.plainly([&](std::size_t i) { return x.at(i); }, [&](std::size_t i) { return y.at(i); }, std::vector<float>(48 * 64));
  for (std::size_t i = 0; i < expected.size(); ++i) expected[i] += double(float(bias[i % 64]));
  CHECK(test::distance(out.host(), expected) <= 0x1p-8);
}

TEST_CASE("a linear layer's neighbours come with its product in 8 bits or after it", "[device][float8]") {
  constexpr std::size_t rows = 64, inputs = 128, outputs = 80;
  const auto in = test::normal_values<bfloat16>(rows * inputs, 1), weight = test::normal_values<bfloat16>(inputs * outputs, 2, 0.1), bias = test::normal_values<bfloat16>(outputs, 3);
  const auto dout = test::normal_values<bfloat16>(rows * outputs, 4, 1e-3), before = test::normal_values<bfloat16>(rows * inputs, 5);
  const on_device<bfloat16> d_in(in), d_weight(weight), d_bias(bias), d_dout(dout), d_before(before);
  const auto check = [&](const std::vector<bfloat16>& a, const std::vector<bfloat16>& b, double tolerance) {
    CHECK(test::distance(a, b) <= tolerance);
    CHECK(!same_bits(a, b));
  };
  const auto both = [&](auto&& compute) {
    const long first = products_of_8_bits();
    const auto sixteen = compute(without());
    CHECK(products_of_8_bits() == first);
    const auto eight = compute(with());
    if (counted) CHECK(products_of_8_bits() == first + 1);
    return std::pair(eight, sixteen);
  };
  const auto [forwards, plain_forwards] = both([&](const engine::cuda_queue& q) {
    const auto kept = on_device<bfloat16>::poisoned(rows * outputs), out = on_device<bfloat16>::poisoned(rows * outputs);
    run(q, nn::ops::affine_gelu{rows, inputs, outputs}, constant(d_in), constant(d_weight), constant(d_bias), kept.data(), out.data());
    return std::pair(kept.host(), out.host());
  });
  check(forwards.first, plain_forwards.first, 0.05), check(forwards.second, plain_forwards.second, 0.05);
  const auto [back, plain_back] = both([&](const engine::cuda_queue& q) {
    const auto din = on_device<bfloat16>::poisoned(rows * inputs);
    run(q, nn::ops::affine_gelu_slope{rows, inputs, outputs}, constant(d_dout), constant(d_weight), constant(d_before), din.data());
    return din.host();
  });
  check(back, plain_back, 0.1);
  for (const bool accumulate : {false, true}) {
    const auto [gradient, plain_gradient] = both([&](const engine::cuda_queue& q) {
      const auto dweight = on_device<bfloat16>::zeros(inputs * outputs), dbias = on_device<bfloat16>::zeros(outputs);
      run(q, nn::ops::affine_gradient{rows, inputs, outputs, accumulate}, constant(d_in), constant(d_dout), dweight.data(), dbias.data());
      return std::pair(dweight.host(), dbias.host());
    });
    check(gradient.first, plain_gradient.first, 0.1);
    CHECK(test::distance(gradient.second, plain_gradient.second) <= 0x1p-8);
  }
}

TEST_CASE("what does not fit 8 bits, or is not to have them, is bit for bit what it was", "[device][float8]") {
  const auto check = [](const problem& q, eight_bits factors, const engine::cuda_queue& plain, const engine::cuda_queue& asked, std::size_t skip = 0) {
    CAPTURE(q.p.m, q.p.n, q.p.k, q.p.lda, q.p.ldc, int(factors), skip);
    auto a = q.a, b = q.b;
    a.resize(std::max(a.size(), (q.p.transpose_a ? q.p.k : q.p.m) * q.p.lda) + skip), b.resize(b.size() + skip);
    const on_device<bfloat16> d_a(a), d_b(b);
    const auto one = on_device<bfloat16>::zeros(q.p.m * q.p.ldc), other = on_device<bfloat16>::zeros(q.p.m * q.p.ldc);
    const long before = products_of_8_bits();
    run(plain, q.gemm(factors), constant(d_a) + skip, constant(d_b) + skip, one.data());
    run(asked, q.gemm(factors), constant(d_a) + skip, constant(d_b) + skip, other.data());
    CHECK(products_of_8_bits() == before);
    CHECK(same_bits(one.host(), other.host()));
  };
  check({false, false, 15, 16, 64}, eight_bits::values, without(), with());
  check({false, true, 16, 24, 64}, eight_bits::gradient_a, without(), with());
  check({true, false, 16, 16, 72}, eight_bits::gradient_b, without(), with());
  check({false, false, 64, 64, 48}, eight_bits::values, without(), with());
  check({false, false, 64, 64, 64}, eight_bits::no, without(), with());
  check({false, false, 64, 64, 64}, eight_bits::values, without(), with(), 1);
  problem apart(false, false, 16, 16, 64);
  apart.p.lda = 80, apart.p.ldc = 32;
  check(apart, eight_bits::values, without(), with());
  check({false, false, 16, 16, 64}, eight_bits::values, without().beside(), with().beside());
  const auto a = test::normal_values<float>(64 * 64), b = test::normal_values<float>(64 * 64, 1);
  const on_device<float> d_a(a), d_b(b);
  const auto one = on_device<float>::zeros(64 * 64), other = on_device<float>::zeros(64 * 64);
  run(without(), nn::ops::gemm{false, false, 64, 64, 64, 64, 64, 64, 1, 0, eight_bits::values}, constant(d_a), constant(d_b), one.data());
  run(with(), nn::ops::gemm{false, false, 64, 64, 64, 64, 64, 64, 1, 0, eight_bits::values}, constant(d_a), constant(d_b), other.data());
  CHECK(same_bits(one.host(), other.host()));
}

TEST_CASE("an infinity or a NaN in a factor is seen in the product; zeros are zeros", "[device][float8]") {
  const problem q(false, false, 32, 32, 64);
  const auto multiply = [&](const std::vector<bfloat16>& a, const std::vector<bfloat16>& b, eight_bits factors) {
    const on_device<bfloat16> d_a(a), d_b(b);
    const auto out = on_device<bfloat16>::poisoned(32 * 32);
    run(with(), q.gemm(factors), constant(d_a), constant(d_b), out.data());
    return out.host();
  };
  for (const float bad : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()})
    for (const eight_bits factors : {eight_bits::values, eight_bits::gradient_a, eight_bits::gradient_b}) {
      auto a = q.a, b = q.b;
      a[40] = bfloat16(bad);
      for (const bfloat16 x : multiply(a, q.b, factors)) CHECK(!std::isfinite(float(x)));
      b[70] = bfloat16(bad);
      for (const bfloat16 x : multiply(q.a, b, factors)) CHECK(!std::isfinite(float(x)));
    }
  for (const bfloat16 x : multiply(std::vector<bfloat16>(q.a.size(), bfloat16(0)), q.b, eight_bits::values)) CHECK(float(x) == 0);
  for (const bfloat16 x : multiply(q.a, q.b, eight_bits::values)) CHECK(std::isfinite(float(x)));  // nothing stays of what was before
}

#if !defined(__CUDACC__)
TEST_CASE("memory for factors is taken when a product is larger than all before, and then kept", "[device][float8]") {
  const auto queue = engine::cuda{}.start().with_float8_products();
  const problem small(false, false, 16, 16, 64), large(false, true, 64, 80, 128);
  const on_device<bfloat16> a(large.a), b(large.b);
  const auto out = on_device<bfloat16>::zeros(64 * 80);
  const auto both = [&] {
    run(queue, small.gemm(eight_bits::values), constant(a), constant(b), out.data());
    run(queue, large.gemm(eight_bits::gradient_a), constant(a), constant(b), out.data());
  };
  both();
  const long memory = emulated::allocations, objects = emulated::blas_created, searches = emulated::blas_searches;
  for (int i = 0; i < 3; ++i) both();
  CHECK(emulated::allocations == memory);
  CHECK(emulated::blas_created == objects);
  CHECK(emulated::blas_searches == searches);
}

TEST_CASE("a device without products of 8-bit factors is refused by name", "[device][float8]") {
  const auto start = [](int capability) {
    emulated::compute_capability = capability;
    comm::self world;
    trainer run{nn::gpt{.layers = 1, .heads = 1, .width = 16, .context = 4, .vocabulary = 8}, optim::adamw{}, world, engine::cuda{}, precision::fp8_mixed{}};
  };
  std::string said;
  try {
    start(86);
  } catch (const usage_error& e) {
    said = e.what();
  }
  CHECK_NOTHROW(start(89));
  emulated::compute_capability = 90;
  CHECK(said == "precision::fp8_mixed: the device cannot multiply in 8 bits: pass precision::bf16_mixed; expected compute capability 8.9 or more (Ada, Hopper and later), found 8.6 (device 0, emulated)");
}
#endif

TEST_CASE("8-bit products as the documentation shows them", "[device][float8]") {
  comm::self world;
  //! [fp8]
  trainer run{nn::gpt{.layers = 1, .heads = 4, .width = 64, .context = 16, .vocabulary = 32}, optim::adamw{.learning_rate = 3e-3}, world, engine::cuda{}, precision::fp8_mixed{}};
  //! [fp8]
  CHECK(run.describe().find("fp8_mixed") != std::string::npos);
}

TEST_CASE("a GPT with 8-bit products learns as in bfloat16", "[device][float8]") {
  const nn::gpt model{.layers = 1, .heads = 4, .width = 64, .context = 16, .vocabulary = 32};
  const auto train = [&](auto precision, std::uint64_t steps = 20, engine::cuda device = {}) {
    comm::self world;
    std::vector<double> losses;
    trainer run{model, optim::adamw{.learning_rate = 3e-3}, world, device, precision};
    token_batch batch;
    for (std::uint64_t step = 0; step < steps; ++step) {
      batch.resize(4, 16);
      for (std::size_t i = 0; i < 64; ++i) {
        const auto token = [&](std::size_t at) { return std::int32_t((step * 7 + i / 16 * 5 + at * (1 + i / 16 % 3)) % 32); };
        batch.inputs[i] = token(i % 16), batch.targets[i] = token(i % 16 + 1);
      }
      losses.push_back(run.step(batch).loss.mean());
    }
    return losses;
  };
  const auto sixteen = train(precision::bf16_mixed{});
  const long before = products_of_8_bits();
  const auto eight = train(precision::fp8_mixed{});
  if (counted) CHECK(products_of_8_bits() == before + 20 * 12);  // four layers, forwards and twice backwards; not the language head
  CHECK(eight.back() < 0.9 * eight.front());
  CHECK(test::distance(eight, sixteen) <= 0.02);
  CHECK(eight != sixteen);
  const auto captured = train(precision::fp8_mixed{}, 5, engine::cuda{.graph = true});
  CHECK(std::equal(captured.begin(), captured.end(), eight.begin()));
  CHECK(precision::fp8_mixed{}.describe() == "fp8_mixed");
  CHECK(precision::fp8_mixed{.stochastic_rounding = true}.describe().find("fp8_mixed{stochastic_rounding") == 0);
}
