// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <cmath>
#include <cstring>
#include <vector>

#include <entrain/compress/cast.hpp>
#include <entrain/compress/chain.hpp>
#include <entrain/compress/momentum_correction.hpp>
#include <entrain/compress/none.hpp>
#include <entrain/compress/random_k.hpp>
#include <entrain/compress/sampled_top_k.hpp>
#include <entrain/compress/sign.hpp>
#include <entrain/compress/top_k.hpp>
#include <entrain/compress/way.hpp>
#include <entrain/optim/sgd.hpp>
#include <entrain/testing/compressor_laws.hpp>

#include "exchange_by_hand.hpp"
#include "sparse.hpp"

using namespace entrain;
using compress::momentum_correction;

namespace {

template <class T>
std::vector<std::vector<T>> gradients(std::size_t n, std::size_t ranks, std::uint64_t step) {
  std::vector<std::vector<T>> g;
  for (std::size_t r = 0; r < ranks; ++r) g.push_back(sparse::gaussian<T>(n, 100 * step + r));
  return g;
}

// What is decoded from all ranks is the velocity that momentum SGD would have applied, bit for bit.
template <class T, class C>
bool is_momentum_sgd(const C& c, std::size_t n, bool nesterov) {
  auto state = c.template make_state<T>(n);
  std::vector<T> x(n, T(1)), velocity(n), expected = x;
  const optim::sgd plain{.learning_rate = 0.1}, with_momentum{.learning_rate = 0.1, .momentum = 0.9, .nesterov = nesterov};
  for (std::uint64_t step = 0; step < 20; ++step) {
    auto g = sparse::gaussian<T>(n, step);
    optim::update_context where{};
    where.learning_rate = 0.1, where.gradient_scale = 1;
    with_momentum.update(where, expected.data(), g.data(), std::array<T*, 1>{velocity.data()}, n);
    std::vector<compress::wire_of<C, T>> wire(c.template wire_count<T>(n));
    wire.resize(compress::encoded(c, state, compress::context{.step = step}, std::span<T>(g), std::span(wire)));
    std::vector<T> sum(n);
    c.decode_add({}, std::span<const compress::wire_of<C, T>>(wire), std::span<T>(sum), T(1));
    plain.update(where, x.data(), sum.data(), std::array<T*, 1>{nullptr}, n);
    if (std::memcmp(x.data(), expected.data(), n * sizeof(T)) != 0) return false;
    for (const T v : state.unsent)
      if (v != T(0)) return false;
  }
  return true;
}

// The method in plain words: p ranks, top-k.
struct plain_ranks {
  std::size_t n, k;
  double mu;
  bool nesterov, mask;
  std::vector<std::vector<double>> u, v;
  std::vector<double> step(const std::vector<std::vector<double>>& g) {
    u.resize(g.size(), std::vector<double>(n)), v.resize(g.size(), std::vector<double>(n));
    std::vector<double> sum(n);
    for (std::size_t r = 0; r < g.size(); ++r) {
      for (std::size_t i = 0; i < n; ++i) {
        u[r][i] = mu * u[r][i] + g[r][i];
        v[r][i] += nesterov ? g[r][i] + mu * u[r][i] : u[r][i];
      }
      for (const std::uint32_t i : sparse::largest(v[r], k)) {
        sum[i] += v[r][i], v[r][i] = 0;
        if (mask) u[r][i] = 0;
      }
    }
    return sum;
  }
};

}  // namespace

TEMPLATE_TEST_CASE("momentum correction keeps the laws", "[compress]", float, double) {
  using namespace compress;
  testing::check_compressor<TestType>(momentum_correction{top_k{.ratio = 0.1}});
  testing::check_compressor<TestType>(momentum_correction{sampled_top_k{.ratio = 0.1}, {.momentum = 0.5, .nesterov = true}});
  testing::check_compressor<TestType>(momentum_correction{none{}});
  testing::check_compressor<TestType>(momentum_correction{cast<bfloat16>{}});
  testing::check_compressor<TestType>(momentum_correction{random_k{.ratio = 0.1}});
  testing::check_compressor<TestType>(momentum_correction{chain{top_k{.ratio = 0.1}, sign{}}});
}

TEMPLATE_TEST_CASE("with everything sent it is momentum SGD, bit for bit", "[compress]", float, double) {
  for (const bool nesterov : {false, true}) {
    CHECK(is_momentum_sgd<TestType>(momentum_correction{compress::none{}, {.nesterov = nesterov}}, 333, nesterov));
    CHECK(is_momentum_sgd<TestType>(momentum_correction{compress::top_k{.ratio = 1}, {.nesterov = nesterov}}, 333, nesterov));
    CHECK(is_momentum_sgd<TestType>(momentum_correction{compress::top_k{.ratio = 1}, {.nesterov = nesterov, .mask = false}}, 333, nesterov));
    CHECK(is_momentum_sgd<TestType>(momentum_correction{compress::top_k{.ratio = 0.01}, {.nesterov = nesterov}}, 1, nesterov));
  }
}

TEST_CASE("momentum correction equals its plain form over 20 steps on 3 ranks", "[compress]") {
  const std::size_t n = 200, k = 10;
  for (const bool nesterov : {false, true})
    for (const bool mask : {false, true}) {
      const momentum_correction c{compress::top_k{.ratio = 0.05}, {.momentum = 0.8, .nesterov = nesterov, .mask = mask}};
      test::by_hand<double, decltype(c)> ranks(c, n, 3);
      plain_ranks plain{n, k, 0.8, nesterov, mask, {}, {}};
      for (std::uint64_t step = 0; step < 20; ++step) {
        const auto g = gradients<double>(n, 3, step);
        const auto expected = plain.step(g), found = ranks.step(g, step).front();
        for (std::size_t i = 0; i < n; ++i) REQUIRE(found[i] == Approx(expected[i]).margin(1e-12));
        for (std::size_t r = 0; r < 3; ++r)
          for (std::size_t i = 0; i < n; ++i) REQUIRE(ranks.states[r].unsent[i] == Approx(plain.v[r][i]).margin(1e-12));
      }
    }
}

TEST_CASE("what was sent and what was not are the sum of the velocities", "[compress]") {
  const auto missing = [](const auto& c) {
    using C = std::decay_t<decltype(c)>;
    const std::size_t n = 300;
    auto state = c.template make_state<double>(n);
    std::vector<double> u(n), velocities(n), sent(n);
    double worst = 0;
    for (std::uint64_t step = 0; step < 20; ++step) {
      auto g = sparse::gaussian<double>(n, step);
      for (std::size_t i = 0; i < n; ++i) u[i] = 0.9 * u[i] + g[i], velocities[i] += u[i];
      std::vector<compress::wire_of<C, double>> wire(c.template wire_count<double>(n));
      const compress::context where{.seed = 3, .step = step, .block = 1, .rank = 2};
      wire.resize(compress::encoded(c, state, where, std::span<double>(g), std::span(wire)));
      c.decode_add(where, std::span<const compress::wire_of<C, double>>(wire), std::span<double>(sent), 1.0);
    }
    for (std::size_t i = 0; i < n; ++i) worst = std::max(worst, std::abs(sent[i] + state.unsent[i] - velocities[i]));
    return worst;
  };
  const compress::momentum_options unmasked{.mask = false};
  CHECK(missing(momentum_correction{compress::top_k{.ratio = 0.02}, unmasked}) < 1e-12);
  CHECK(missing(momentum_correction{compress::random_k{.ratio = 0.02}, unmasked}) < 1e-12);
  CHECK(missing(momentum_correction{compress::cast<bfloat16>{}, unmasked}) < 1e-12);
  CHECK(missing(momentum_correction{compress::chain{compress::top_k{.ratio = 0.02}, compress::sign{}}, unmasked}) < 1e-12);
  CHECK(missing(momentum_correction{compress::top_k{.ratio = 0.02}}) > 1e-3);  // masks forget velocity on purpose
}

// random_k and chain select, too, though what travels is not sparse.
TEST_CASE("masks reach every compressor that selects, and are refused where nothing is selected", "[compress]") {
  const std::size_t n = 60;
  const auto masked_right = [&](const auto& c, std::size_t sent_each) {
    using C = std::decay_t<decltype(c)>;
    auto state = c.template make_state<double>(n);
    std::vector<double> u(n), v(n);
    for (std::uint64_t step = 0; step < 20; ++step) {
      auto g = sparse::gaussian<double>(n, step);
      for (std::size_t i = 0; i < n; ++i) u[i] = 0.9 * u[i] + g[i], v[i] += u[i];
      std::vector<compress::wire_of<C, double>> wire(c.template wire_count<double>(n));
      const compress::context where{.seed = 3, .step = step, .block = 1, .rank = 2};
      wire.resize(compress::encoded(c, state, where, std::span<double>(g), std::span(wire)));
      std::vector<double> decoded(n);
      c.decode_add(where, std::span<const compress::wire_of<C, double>>(wire), std::span<double>(decoded), 1.0);
      std::size_t sent = 0;
      for (std::size_t i = 0; i < n; ++i)
        if (decoded[i] != 0) v[i] -= decoded[i], ++sent, u[i] = sent_each < n ? 0 : u[i];
      if (sent != sent_each) return false;
      for (std::size_t i = 0; i < n; ++i)
        if (std::abs(state.velocity[i] - u[i]) > 1e-12 || std::abs(state.unsent[i] - v[i]) > 1e-12) return false;
    }
    return true;
  };
  using namespace compress;
  CHECK(masked_right(momentum_correction{top_k{.ratio = 0.1}}, 6));
  CHECK(masked_right(momentum_correction{random_k{.ratio = 0.1}}, 6));
  CHECK(masked_right(momentum_correction{random_k{.ratio = 1}}, n));  // nothing is left out: nothing is masked
  CHECK(masked_right(momentum_correction{chain{top_k{.ratio = 0.1}, cast<bfloat16>{}}}, 6));
  CHECK(masked_right(momentum_correction{chain{top_k{.ratio = 0.1}, cast<bfloat16>{}}, {.mask = true}}, 6));

  CHECK_THROWS_AS((momentum_correction{cast<bfloat16>{}, {.mask = true}}.make_state<float>(10)), usage_error);
  CHECK_NOTHROW(momentum_correction{cast<bfloat16>{}, {.mask = false}}.make_state<float>(10));
  CHECK_NOTHROW(momentum_correction{cast<bfloat16>{}}.make_state<float>(10));
  CHECK_NOTHROW(momentum_correction{none{}, {.mask = true}}.make_state<float>(10));  // momentum SGD, as with everything sent
  CHECK(describe(momentum_correction{cast<bfloat16>{}}).find("mask no") != std::string::npos);
}

TEST_CASE("momentum correction is a value, and says what it keeps", "[compress]") {
  const momentum_correction a{compress::top_k{.ratio = 0.02}, {.momentum = 0.5}};
  CHECK(a == momentum_correction{compress::top_k{.ratio = 0.02}, {.momentum = 0.5}});
  CHECK_FALSE(a == momentum_correction{compress::top_k{.ratio = 0.02}});
  CHECK(a.describe() == "momentum_correction{top_k{ratio 0.02}, {momentum 0.5, nesterov no, mask yes}}");
  STATIC_REQUIRE(compress::has_momentum<decltype(a)>);
  STATIC_REQUIRE(compress::has_momentum<compress::travel<momentum_correction<compress::top_k>>>);
  STATIC_REQUIRE(!compress::has_momentum<compress::travel<compress::top_k>>);
  auto dense = momentum_correction{compress::none{}}.make_state<float>(100);
  CHECK(state_bytes(dense) == 400);  // u alone
  auto sparse = a.make_state<float>(100);
  CHECK(state_bytes(sparse) == 800);
}
