// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <cmath>
#include <vector>

#include <entrain/compress/error_feedback.hpp>
#include <entrain/compress/sign.hpp>
#include <entrain/testing/compressor_laws.hpp>

#include "quantisers.hpp"

using namespace entrain;
using compress::error_feedback;
using compress::sign;

namespace {

std::vector<double> plain_sign(const std::vector<double>& v) {
  double scale = 0;
  for (const double x : v) scale += std::abs(x);
  std::vector<double> out;
  for (const double x : v) out.push_back(x < 0 ? -scale / double(v.size()) : scale / double(v.size()));
  return out;
}

// The signs alone, times a fixed scale: what an optimizer that ignores magnitudes steps by.
struct bare_sign : sign {
  template <class T>
  void encode(compress::no_state&, const compress::context&, std::span<T> values, std::span<std::uint8_t> wire) const {
    encode_scaled<T>(values, T(1), wire);
  }
};

// Steps x -= rate * decode(encode(gradient(x, step))); returns the last x, averaged over the second half of the steps.
template <class C, class F>
std::vector<double> descend(const C& c, std::vector<double> x, int steps, double rate, F&& gradient) {
  auto state = c.template make_state<double>(x.size());
  std::vector<double> mean(x.size());
  for (int step = 0; step < steps; ++step) {
    std::vector<double> g = gradient(x, step), out(x.size());
    std::vector<std::uint8_t> wire(c.template wire_count<double>(x.size()));
    compress::encoded(c, state, {}, std::span(g), std::span(wire));
    c.decode_add({}, std::span<const std::uint8_t>(wire), std::span(out), 1.0);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] -= rate * out[i];
    if (step >= steps / 2)
      for (std::size_t i = 0; i < x.size(); ++i) mean[i] += x[i] / (steps - steps / 2);
  }
  return mean;
}

}  // namespace

TEMPLATE_TEST_CASE("sign keeps the laws", "[compress]", float, double) {
  testing::check_compressor<TestType>(sign{});
  testing::check_compressor<TestType>(error_feedback{sign{}});
}

TEST_CASE("sign loses nothing under error feedback", "[compress]") {
  testing::check_error_feedback<double>(error_feedback{sign{}});
  testing::check_error_feedback<float>(error_feedback{sign{}});
}

TEST_CASE("sign with error feedback equals a plain implementation over 20 steps", "[compress]") {
  constexpr std::size_t n = 2500;
  const error_feedback<sign> c;
  auto state = c.make_state<double>(n);
  std::vector<double> residual(n), ours(n), plain(n);
  for (std::uint32_t step = 0; step < 20; ++step) {
    const auto g = test::gaussian<double>(n, step);
    std::vector<double> z = g, h(n);
    std::vector<std::uint8_t> wire(c.wire_count<double>(n));
    c.encode(state, {}, std::span(z), std::span(wire));
    c.decode_add({}, std::span<const std::uint8_t>(wire), std::span(ours), 0.1);
    for (std::size_t i = 0; i < n; ++i) h[i] = residual[i] + g[i];
    const auto q = plain_sign(h);
    for (std::size_t i = 0; i < n; ++i) residual[i] = h[i] - q[i], plain[i] += 0.1 * q[i];
    REQUIRE(test::squared_distance(ours, plain) < 1e-20);
  }
}

TEST_CASE("sign: the error is (1 - delta) |v|^2, 0.363 for Gaussian values", "[compress]") {
  double mean = 0;
  for (std::uint32_t k = 0; k < 1000; ++k) {
    const auto v = test::gaussian<double>(1000, k);
    const double delta = test::magnitudes(v) * test::magnitudes(v) / 1000 / test::squares(v);
    const double error = test::squared_distance(test::coded(sign{}, v), v) / test::squares(v);
    REQUIRE(error == Approx(1 - delta).epsilon(1e-12));
    REQUIRE(1 - error >= sign{}.contraction(1000));
    mean += error / 1000;
  }
  CHECK(mean == Approx(1 - 2 / 3.14159265358979).epsilon(0.005));  // 1000 vectors: the standard error is 0.15 %
}

TEST_CASE("sign: zeros of both signs are positive, bytes and scale are as stated", "[compress]") {
  CHECK(test::coded(sign{}, std::vector<float>{0.0f, -0.0f, 3.0f, -1.0f}) == std::vector<float>{1, 1, 1, -1});
  for (const std::size_t n : {1, 7, 8, 9, 1000, 1024, 1025, 4099}) {
    CHECK(sign{}.wire_count<float>(n) == (n + 7) / 8 + 4);
    const auto v = test::gaussian<float>(n, 1);
    std::vector<std::uint8_t> wire(sign{}.wire_count<float>(n));
    sign::encode_scaled<float>(v, 0.25f, wire);
    const auto q = test::decode<float>(sign{}, wire, {}, n);
    for (std::size_t i = 0; i < n; ++i) REQUIRE(q[i] == (v[i] < 0 ? -0.25f : 0.25f));
    CHECK(sign::scale_of<float>(v) == Approx(test::magnitudes(v) / double(n)));
  }
  CHECK(sign{}.wire_count<float>(0) == 0);
  CHECK(sign::scale_of<float>({}) == 0);
}

TEMPLATE_TEST_CASE("sign at the ends of the number format", "[compress]", float, double) {
  for (const auto& x : test::ends_of_the_format<TestType>()) {
    const auto q = test::coded(sign{}, x);
    for (std::size_t i = 0; i < x.size(); ++i) {
      CHECK(std::isfinite(double(q[i])));
      CHECK(double(q[i]) * double(x[i]) >= 0);
    }
  }
}

// g = 4 with chance 1/4, else -1, on [-1, 1]: the mean is 1/4, so x = -1 is best; signs are +1/2 too low in the mean.
TEST_CASE("signs alone go the wrong way on the one-dimensional counterexample, with scale and error feedback the right one", "[compress]") {
  const random_stream random(1, purpose::user);
  const auto gradient = [&](const std::vector<double>& x, int step) {
    const double wall = x[0] > 1 ? 100 * (x[0] - 1) : x[0] < -1 ? 100 * (x[0] + 1) : 0;  // keeps x near [-1, 1]
    return std::vector<double>{(random.uniform(std::uint64_t(step)) < 0.25f ? 4.0 : -1.0) + wall};
  };
  CHECK(descend(bare_sign{}, {0}, 20000, 0.001, gradient)[0] > 0.9);
  CHECK(descend(error_feedback{sign{}}, {0}, 20000, 0.001, gradient)[0] < -0.9);
}

// f = 0.1 |x + y| + |x - y| from (1, 1): each gradient's signs are (1, -1) or (-1, 1), so without memory x + y never changes.
TEST_CASE("scaled signs are stuck in the plane without error feedback", "[compress]") {
  const auto gradient = [](const std::vector<double>& x, int) {
    const double sum = x[0] + x[1] < 0 ? -0.1 : 0.1, difference = x[0] - x[1] < 0 ? -1 : 1;
    return std::vector<double>{sum + difference, sum - difference};
  };
  const auto stuck = descend(sign{}, {1, 1}, 20000, 0.002, gradient);
  const auto free = descend(error_feedback{sign{}}, {1, 1}, 20000, 0.002, gradient);
  CHECK(std::abs(stuck[0] + stuck[1] - 2) < 1e-9);
  CHECK(std::abs(free[0] + free[1]) < 0.05);
}
