// SPDX-License-Identifier: Apache-2.0
// entrain-test: computes
#include "catch.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include <entrain/nn/host.hpp>

// engine::host in float against engine::reference in double, for sizes that do and do not fill vectors, tiles and blocks.
// Outputs are poisoned with NaN first: what an operation does not write, or adds to by mistake, shows.

using namespace entrain;
using namespace entrain::nn;

namespace {

const engine::host fast;
const engine::reference plain;

using floats = std::vector<float>;
using doubles = std::vector<double>;

floats random_values(std::size_t n, std::uint32_t stream, double scale = 1) {
  const random_stream random(7, purpose::user, stream);
  floats out(n);
  for (std::size_t i = 0; i < n; ++i) out[i] = float(scale * random.normal(i));
  return out;
}
floats poisoned(std::size_t n) { return floats(n, std::numeric_limits<float>::quiet_NaN()); }
doubles wide(const floats& in) { return doubles(in.begin(), in.end()); }

// Largest |found - expected| relative to max(|expected|, the level below which digits cancel).
double worst(const floats& found, const doubles& expected, double level = 1) {
  double most = 0;
  REQUIRE(found.size() == expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    const double error = std::abs(double(found[i]) - expected[i]) / std::max(std::abs(expected[i]), level);
    most = error <= most ? most : std::isnan(error) ? std::numeric_limits<double>::infinity() : error;
  }
  return most;
}

}  // namespace

TEST_CASE("vector exp, tanh and logistic keep their stated errors") {
  constexpr std::size_t n = host::lane_count<float>;
  double exp_error = 0, tanh_error = 0, logistic_error = 0;
  for (double x = -86; x < 88.5; x += 0.0173 / 3) {
    const floats in(n, float(x));
    floats out(n);
    host::store(out.data(), host::exp(host::load(in.data())));
    exp_error = std::max(exp_error, std::abs(out[0] / std::exp(double(in[0])) - 1));
    host::store(out.data(), host::tanh(host::load(in.data()) * 0.1f));
    const double tenth = double(in[0] * 0.1f);
    if (tenth != 0) tanh_error = std::max(tanh_error, std::abs(out[0] / std::tanh(tenth) - 1));
    host::store(out.data(), host::logistic(host::load(in.data())));
    logistic_error = std::max(logistic_error, std::abs(out[n - 1] * (1 + std::exp(-double(in[0]))) - 1));
  }
  CHECK(exp_error < 2e-7);
  CHECK(tanh_error < 4e-7);
  CHECK(logistic_error < 4e-7);
  const float special[] = {0.0f, -100.0f, 100.0f, std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                           std::numeric_limits<float>::quiet_NaN(), 88.6f, -87.5f};
  for (const float x : special) {
    floats in(n, x), out(n);
    host::store(out.data(), host::exp(host::load(in.data())));
    if (std::isnan(x)) CHECK(std::isnan(out[0]));
    else if (x > 89) CHECK(std::isinf(out[0]));
    else if (x < -86.6f) CHECK(out[0] == 0);
    else CHECK(out[0] == Approx(std::exp(x)));
    host::store(out.data(), host::tanh(host::load(in.data())));
    if (std::isnan(x)) CHECK(std::isnan(out[0]));
    else CHECK(out[0] == Approx(std::tanh(x)));
  }
}

TEMPLATE_TEST_CASE("matrix product", "", float, double) {
  using T = TestType;
  struct sizes { std::size_t m, n, k; };
  const auto check = [&](sizes s, bool ta, bool tb, float alpha, float beta, bool own) {
    const std::size_t lda = (ta ? s.m : s.k) + 3, ldb = (tb ? s.k : s.n) + 1, ldc = s.n + 2;
    const ops::gemm d{ta, tb, s.m, s.n, s.k, lda, ldb, ldc, alpha, beta};
    const auto a = random_values((ta ? s.k : s.m) * lda, 1), b = random_values((tb ? s.n : s.k) * ldb, 2);
    auto c = beta == 0 ? poisoned(s.m * ldc) : random_values(s.m * ldc, 3);
    const doubles da = wide(a), db = wide(b);
    doubles expected = wide(c);
    for (std::size_t i = 0; i < s.m; ++i)
      for (std::size_t j = 0; j < s.n; ++j) {
        double sum = 0;
        for (std::size_t p = 0; p < s.k; ++p) sum += da[ta ? p * lda + i : i * lda + p] * db[tb ? j * ldb + p : p * ldb + j];
        expected[i * ldc + j] = double(alpha) * sum + (beta == 0 ? 0.0 : double(beta) * expected[i * ldc + j]);
      }
    const std::vector<T> ta_(a.begin(), a.end()), tb_(b.begin(), b.end());
    std::vector<T> tc(c.begin(), c.end());
    if (own) host::multiply(d, ta_.data(), tb_.data(), tc.data());
    else ops::run(fast, d, ta_.data(), tb_.data(), tc.data());
    double most = 0;
    bool kept = true;
    for (std::size_t i = 0; i < s.m; ++i) {
      for (std::size_t j = 0; j < s.n; ++j) {
        const double error = std::abs(double(tc[i * ldc + j]) - expected[i * ldc + j]) / std::sqrt(double(s.k) + 1);
        most = error <= most ? most : error;
        if (std::isnan(error)) most = 1e9;
      }
      for (std::size_t j = s.n; j < ldc; ++j) kept = kept && (std::isnan(double(tc[i * ldc + j])) == std::isnan(c[i * ldc + j]));
    }
    INFO("m " << s.m << " n " << s.n << " k " << s.k << " transposed " << ta << tb << " alpha " << alpha << " beta " << beta << " own " << own);
    CHECK(most < (sizeof(T) == 4 ? 4e-6 : 1e-6));
    CHECK(kept);
  };
  for (const bool own : {false, true})
    for (const bool ta : {false, true})
      for (const bool tb : {false, true}) {
        for (const sizes s : {sizes{0, 3, 4}, {3, 0, 4}, {3, 4, 0}, {1, 1, 1}, {2, 1, 3}, {8, 48, 16}, {17, 49, 33}, {7, 31, 5}, {16, 33, 300}, {9, 97, 700}})
          check(s, ta, tb, 1, 0, own);
        check({13, 51, 270}, ta, tb, 1, 1, own);
        check({13, 200, 21}, ta, tb, 0.5f, -2, own);
        check({3, 5, 0}, ta, tb, 1, 0.5f, own);
        check({1100, 17, 770}, ta, tb, 1, 0, own);
      }
}

TEMPLATE_TEST_CASE("product with a bias", "", float, double) {
  for (const auto& [rows, inputs, outputs] : {std::array<std::size_t, 3>{0, 2, 3}, {3, 0, 5}, {3, 2, 0}, {1, 1, 1}, {16, 128, 96}, {33, 70, 130}, {20, 520, 530}}) {
    const auto in = random_values(rows * inputs, 1), weight = random_values(inputs * outputs, 2), bias = random_values(outputs, 3);
    const std::vector<TestType> a(in.begin(), in.end()), w(weight.begin(), weight.end()), b(bias.begin(), bias.end());
    std::vector<TestType> out(rows * outputs, std::numeric_limits<TestType>::quiet_NaN());
    ops::run(fast, ops::affine{rows, inputs, outputs}, a.data(), w.data(), b.data(), out.data());
    doubles expected(rows * outputs);
    for (std::size_t r = 0; r < rows; ++r)
      for (std::size_t j = 0; j < outputs; ++j) {
        expected[r * outputs + j] = double(bias[j]);
        for (std::size_t i = 0; i < inputs; ++i) expected[r * outputs + j] += double(in[r * inputs + i]) * double(weight[i * outputs + j]);
      }
    CHECK(worst(floats(out.begin(), out.end()), expected, 10) < 1e-5);
  }
}

TEST_CASE("an engine with several threads gives the same product") {
  engine::host two;
  two.threads = 2;
  const ops::gemm d{false, true, 200, 150, 90, 90, 90, 150, 1, 0};
  const auto a = random_values(200 * 90, 1), b = random_values(150 * 90, 2);
  auto one = poisoned(200 * 150), other = one;
  ops::run(fast, d, a.data(), b.data(), one.data());
  ops::run(two, d, a.data(), b.data(), other.data());
  CHECK(worst(other, wide(one)) < 1e-5);
}

TEST_CASE("activations") {
  for (const auto kind : {ops::activation_kind::relu, ops::activation_kind::gelu, ops::activation_kind::silu, ops::activation_kind::tanh})
    for (const std::size_t n : {0, 1, 15, 16, 17, 1000}) {
      const ops::activation d{kind, n};
      const auto in = random_values(n, 1, 3), dout = random_values(n, 2);
      auto out = poisoned(n), din = poisoned(n);
      doubles expected(n), expected_din(n);
      ops::forward(fast, d, in.data(), out.data());
      ops::backward(fast, d, in.data(), dout.data(), din.data());
      ops::forward(plain, d, wide(in).data(), expected.data());
      ops::backward(plain, d, wide(in).data(), wide(dout).data(), expected_din.data());
      CHECK(worst(out, expected, 1e-3) < 1e-5);
      CHECK(worst(din, expected_din, 1e-1) < 1e-5);
      auto in_place = in, in_place_dout = dout;
      ops::forward(fast, d, in_place.data(), in_place.data());
      ops::backward(fast, d, in.data(), in_place_dout.data(), in_place_dout.data());
      CHECK(in_place == out);
      CHECK(in_place_dout == din);
    }
}

TEST_CASE("layer norm") {
  for (const std::size_t rows : {0, 1, 5})
    for (const std::size_t width : {1, 3, 16, 33, 128, 771}) {
      ops::layer_norm d{rows, width};
      auto in = random_values(rows * width, 1, 2);
      for (auto& x : in) x += 5;
      const auto gain = random_values(width, 2), bias = random_values(width, 3), dout = random_values(rows * width, 4);
      auto out = poisoned(rows * width), mean = poisoned(rows), inverse = poisoned(rows), din = poisoned(rows * width);
      doubles e_out(rows * width), e_mean(rows), e_inverse(rows), e_din(rows * width);
      ops::forward(fast, d, in.data(), gain.data(), bias.data(), out.data(), mean.data(), inverse.data());
      ops::forward(plain, d, wide(in).data(), wide(gain).data(), wide(bias).data(), e_out.data(), e_mean.data(), e_inverse.data());
      CHECK(worst(out, e_out) < 1e-5);
      CHECK(worst(mean, e_mean) < 1e-6);
      CHECK(worst(inverse, e_inverse) < 1e-5);
      ops::backward_input(fast, d, in.data(), gain.data(), mean.data(), inverse.data(), dout.data(), din.data());
      ops::backward_input(plain, d, wide(in).data(), wide(gain).data(), wide(mean).data(), wide(inverse).data(), wide(dout).data(), e_din.data());
      CHECK(worst(din, e_din, width == 1 ? 1000 : 1) < 1e-5);  // one column: a difference of equal numbers times 1/sqrt(epsilon)
      for (const bool accumulate : {false, true}) {
        d.accumulate = accumulate;
        auto dgain = accumulate ? random_values(width, 5) : poisoned(width), dbias = accumulate ? random_values(width, 6) : poisoned(width);
        doubles e_dgain = wide(dgain), e_dbias = wide(dbias);
        ops::backward_parameters(fast, d, in.data(), mean.data(), inverse.data(), dout.data(), dgain.data(), dbias.data());
        ops::backward_parameters(plain, d, wide(in).data(), wide(mean).data(), wide(inverse).data(), wide(dout).data(), e_dgain.data(), e_dbias.data());
        CHECK(worst(dgain, e_dgain) < 1e-5);
        CHECK(worst(dbias, e_dbias) < 1e-5);
      }
    }
}

TEST_CASE("softmax cross-entropy") {
  for (const std::size_t rows : {0, 1, 7})
    for (const std::size_t classes : {1, 2, 15, 65, 5003}) {
      const ops::softmax_cross_entropy d{rows, classes};
      const auto logits = random_values(rows * classes, 1, 4);
      std::vector<std::int32_t> targets(rows);
      for (std::size_t r = 0; r < rows; ++r) targets[r] = r == 3 ? -1 : std::int32_t((r * 31) % classes);
      if (rows > 4) targets[4] = std::int32_t(std::max_element(logits.begin() + 4 * classes, logits.begin() + 5 * classes) - logits.begin() - 4 * classes);
      auto gradient = poisoned(rows * classes);
      doubles expected(rows * classes);
      const auto loss = ops::forward(fast, d, logits.data(), targets.data());
      const auto same = ops::forward_backward(fast, d, logits.data(), targets.data(), gradient.data());
      const auto truth = ops::forward_backward(plain, d, wide(logits).data(), targets.data(), expected.data());
      CHECK(loss.sum == Approx(truth.sum).epsilon(1e-6).margin(1e-6));
      CHECK(same.sum == loss.sum);
      CHECK(loss.count == truth.count);
      CHECK(loss.correct == truth.correct);
      CHECK(same.correct == truth.correct);
      CHECK(worst(gradient, expected, 1e-2) < 1e-5 + (classes == 1 ? 1 : 0));
      auto in_place = logits;
      ops::forward_backward(fast, d, in_place.data(), targets.data(), in_place.data());
      CHECK(in_place == gradient);
      for (float& g : gradient) g *= 1024;
      in_place = logits;
      CHECK(ops::forward_backward(fast, {rows, classes, 1024}, in_place.data(), targets.data(), in_place.data()).sum == loss.sum);
      CHECK(in_place == gradient);  // a power of two changes no digit
      ops::forward_backward(plain, {rows, classes, 3}, wide(logits).data(), targets.data(), expected.data());
      in_place = logits;
      ops::forward_backward(fast, {rows, classes, 3}, in_place.data(), targets.data(), in_place.data());
      CHECK(worst(in_place, expected, 1e-2) < 1e-5 + (classes == 1 ? 1 : 0));
    }
  // The first of equal maxima is the prediction; large logits do not overflow.
  const ops::softmax_cross_entropy d{2, 3};
  const floats logits{500, 500, -500, -500, 500, 500};
  const std::vector<std::int32_t> targets{0, 2};
  const auto loss = ops::forward(fast, d, logits.data(), targets.data());
  CHECK(loss.correct == 1);
  CHECK(loss.sum == Approx(2 * std::log(2.0)));
}

TEST_CASE("causal attention") {
  struct sizes { std::size_t batch, length, heads, head_width; };
  for (const sizes s : {sizes{0, 4, 2, 8}, {1, 0, 1, 4}, {1, 1, 1, 1}, {2, 5, 3, 7}, {1, 16, 2, 16}, {2, 64, 2, 32}, {1, 67, 1, 33}, {1, 130, 2, 64}, {1, 200, 1, 20}}) {
    const ops::causal_attention d{s.batch, s.length, s.heads, s.head_width};
    INFO("length " << s.length << " head width " << s.head_width);
    const std::size_t n = s.batch * s.length * d.width();
    const auto qkv = random_values(3 * n, 1), dout = random_values(n, 2);
    auto out = poisoned(n), lse = poisoned(s.batch * s.heads * s.length), dqkv = poisoned(3 * n), workspace = poisoned(d.workspace_size());
    doubles e_out(n), e_lse(lse.size()), e_dqkv(3 * n), e_workspace(d.workspace_size());
    ops::forward(fast, d, qkv.data(), out.data(), lse.data(), workspace.data());
    if (n == 0) {
      ops::backward(fast, d, qkv.data(), out.data(), lse.data(), dout.data(), dqkv.data(), workspace.data());
      continue;
    }
    ops::forward(plain, d, wide(qkv).data(), e_out.data(), e_lse.data(), e_workspace.data());
    CHECK(worst(out, e_out) < 1e-5);
    CHECK(worst(lse, e_lse) < 1e-5);
    workspace = poisoned(d.workspace_size());
    ops::backward(fast, d, qkv.data(), out.data(), lse.data(), dout.data(), dqkv.data(), workspace.data());
    ops::backward(plain, d, wide(qkv).data(), e_out.data(), e_lse.data(), wide(dout).data(), e_dqkv.data(), e_workspace.data());
    CHECK(worst(dqkv, e_dqkv) < 2e-5);
  }
}

TEST_CASE("rows: broadcast, sum, add, embedding") {
  for (const std::size_t rows : {0, 1, 9})
    for (const std::size_t width : {1, 15, 130, 300}) {
      const auto in = random_values(rows * width, 1), other = random_values(rows * width, 2), bias = random_values(width, 3);
      auto out = poisoned(rows * width);
      ops::run(fast, ops::broadcast_rows{rows, width}, bias.data(), out.data());
      for (std::size_t i = 0; i < out.size(); ++i) REQUIRE(out[i] == bias[i % width]);
      ops::run(fast, ops::add{rows * width}, in.data(), other.data(), out.data());
      for (std::size_t i = 0; i < out.size(); ++i) REQUIRE(out[i] == in[i] + other[i]);
      for (const bool accumulate : {false, true}) {
        auto sums = accumulate ? bias : poisoned(width);
        doubles expected = wide(sums);
        ops::run(fast, ops::column_sum{rows, width, accumulate}, in.data(), sums.data());
        ops::run(plain, ops::column_sum{rows, width, accumulate}, wide(in).data(), expected.data());
        CHECK(worst(sums, expected) < 1e-5);
      }
      std::vector<std::int32_t> ids(rows);
      for (std::size_t r = 0; r < rows; ++r) ids[r] = std::int32_t(r * r % 5);
      const ops::embedding d{rows, width, 5};
      const auto table = random_values(5 * width, 4);
      ops::forward(fast, d, ids.data(), table.data(), out.data());
      for (std::size_t i = 0; i < out.size(); ++i) REQUIRE(out[i] == table[std::size_t(ids[i / width]) * width + i % width]);
      auto gradient = table;
      doubles expected = wide(table);
      ops::backward(fast, d, ids.data(), in.data(), gradient.data());
      ops::backward(plain, d, ids.data(), wide(in).data(), expected.data());
      CHECK(worst(gradient, expected) < 1e-5);
    }
}

TEST_CASE("dropout keeps the elements that the plain loop keeps") {
  for (const std::uint64_t first : {0, 1, 2, 3, 4, 1000001})
    for (const std::size_t n : {0, 1, 3, 4, 5, 63, 64, 65, 500}) {
      const ops::dropout d{n, 0.3f, random_stream(5, purpose::dropout, 2, 9), first};
      const auto in = random_values(n, 1);
      auto out = poisoned(n), expected = poisoned(n);
      ops::apply(fast, d, in.data(), out.data());
      ops::apply(plain, d, in.data(), expected.data());
      CHECK(worst(out, wide(expected)) < 1e-6);
    }
}

TEST_CASE("convolution") {
  for (const ops::convolution& d : {ops::convolution{0, 1, 5, 5, 2, 3}, {2, 1, 6, 5, 3, 3}, {1, 3, 9, 8, 4, 5, 2, 2}, {2, 2, 7, 7, 1, 1}, {1, 2, 20, 19, 5, 3, 1, 1}, {1, 1, 3, 3, 2, 3, 3, 3}}) {
    const std::size_t n_in = d.samples * d.channels * d.height * d.width, n_out = d.samples * d.filters * d.out_height() * d.out_width();
    const std::size_t n_weight = d.filters * d.channels * d.kernel * d.kernel;
    const auto in = random_values(n_in, 1), weight = random_values(n_weight, 2), bias = random_values(d.filters, 3), dout = random_values(n_out, 4);
    auto out = poisoned(n_out), din = poisoned(n_in), workspace = poisoned(d.workspace_size());
    doubles e_out(n_out), e_din(n_in), e_workspace(d.workspace_size());
    ops::forward(fast, d, in.data(), weight.data(), bias.data(), out.data(), workspace.data());
    ops::forward(plain, d, wide(in).data(), wide(weight).data(), wide(bias).data(), e_out.data(), e_workspace.data());
    CHECK(worst(out, e_out) < 1e-5);
    ops::backward_input(fast, d, weight.data(), dout.data(), din.data(), workspace.data());
    ops::backward_input(plain, d, wide(weight).data(), wide(dout).data(), e_din.data(), e_workspace.data());
    CHECK(worst(din, e_din) < 1e-5);
    for (const bool accumulate : {false, true}) {
      auto op = d;
      op.accumulate = accumulate;
      auto dweight = accumulate ? weight : poisoned(n_weight), dbias = accumulate ? bias : poisoned(d.filters);
      doubles e_dweight = wide(dweight), e_dbias = wide(dbias);
      ops::backward_parameters(fast, op, in.data(), dout.data(), dweight.data(), dbias.data(), workspace.data());
      ops::backward_parameters(plain, op, wide(in).data(), wide(dout).data(), e_dweight.data(), e_dbias.data(), e_workspace.data());
      CHECK(worst(dweight, e_dweight) < 1e-5);
      CHECK(worst(dbias, e_dbias) < 1e-5);
    }
  }
}
