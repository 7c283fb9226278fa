// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include <entrain/comm/threads.hpp>
#include <entrain/compress/block_bandit.hpp>
#include <entrain/compress/jointspar.hpp>
#include <entrain/optim/lars.hpp>
#include <entrain/testing/compressor_laws.hpp>
#include <entrain/testing/optimizer_laws.hpp>

#include "../trainer/compression_matrix.hpp"

using namespace entrain;
using compress::block_arm;
using compress::block_bandit;

namespace {

std::vector<block_arm> arms_of(std::size_t n) {
  return std::vector<block_arm>(n);
}

// The projection by its optimality conditions: the a smallest weights at the floor, the b largest at 1, the others scaled.
std::vector<double> projected(const std::vector<double>& w, double budget, double floor) {
  const std::size_t n = w.size();
  std::vector<std::size_t> order(n);
  std::iota(order.begin(), order.end(), std::size_t(0));
  std::sort(order.begin(), order.end(), [&](auto x, auto y) { return w[x] < w[y]; });
  std::vector<double> best;
  double least = INFINITY;
  for (std::size_t a = 0; a <= n; ++a)
    for (std::size_t b = 0; a + b <= n; ++b) {
      double middle = 0;
      for (std::size_t i = a; i < n - b; ++i) middle += w[order[i]];
      const double left = budget - double(a) * floor - double(b), c = middle > 0 ? left / middle : 0;
      std::vector<double> q(n);
      double divergence = 0, sum = 0;
      bool feasible = true;
      for (std::size_t i = 0; i < n; ++i) {
        const double v = i < a ? floor : i >= n - b ? 1 : c * w[order[i]];
        feasible = feasible && v >= floor - 1e-13 && v <= 1 + 1e-13;
        q[order[i]] = v, sum += v;
        if (v > 0) divergence += v * std::log(v / w[order[i]]) - v + w[order[i]];
      }
      if (feasible && std::abs(sum - budget) < 1e-9 && divergence < least) least = divergence, best = q;
    }
  return best;
}

double variance(const std::vector<block_arm>& arms, const std::vector<double>& norms) {
  double sum = 0;
  for (std::size_t i = 0; i < arms.size(); ++i) sum += norms[i] * norms[i] / arms[i].probability;
  return sum;
}

}  // namespace

TEMPLATE_TEST_CASE("jointspar keeps the laws", "[compress]", float, double) {
  testing::check_compressor<TestType>(compress::jointspar{});
  testing::check_compressor<TestType>(compress::jointspar{.share = 0.3, .floor = 0.1, .shift = true});
  testing::check_compressor<TestType>(compress::jointspar{.share = 1});
}

TEST_CASE("the projection is the nearest point of the capped simplex", "[compress]") {
  const random_stream random(3, purpose::user);
  std::uint64_t next = 0;
  for (int trial = 0; trial < 200; ++trial) {
    const std::size_t n = 1 + random.below(next++, 12);
    const double floor = 0.0125, budget = n * (0.02 + 0.97 * double(random.uniform(next++)));
    auto arms = arms_of(n);
    std::vector<double> w(n);
    for (std::size_t i = 0; i < n; ++i) arms[i].probability = w[i] = std::exp(3 * random.normal(1000000 + 2 * next++));
    block_bandit{.budget = budget, .floor = floor}.project(std::span(arms));
    const auto expected = projected(w, budget, floor);
    REQUIRE(expected.size() == n);
    double sum = 0;
    for (std::size_t i = 0; i < n; ++i) {
      CHECK(std::abs(arms[i].probability - expected[i]) < 1e-7);
      sum += arms[i].probability;
    }
    CHECK(std::abs(sum - budget) < 1e-9);
  }
}

TEST_CASE("draws divided by their probability are right on average", "[compress]") {
  auto arms = arms_of(8);
  const std::vector<double> p{0.0125, 0.1, 0.2, 0.4, 0.5, 0.7, 0.9, 1};
  double budget = 0;
  for (std::size_t i = 0; i < 8; ++i) arms[i].probability = p[i], budget += p[i];
  const block_bandit bandit{.budget = budget};
  constexpr int draws = 20000;
  std::vector<double> mean(8);
  double blocks = 0;
  for (int d = 0; d < draws; ++d) {
    bandit.draw(std::span(arms), random_stream(11, purpose::compress, 0, std::uint64_t(d)));
    for (std::size_t i = 0; i < 8; ++i) mean[i] += arms[i].drawn / p[i] / draws, blocks += arms[i].drawn / draws;
  }
  for (std::size_t i = 0; i < 8; ++i) CHECK(std::abs(mean[i] - 1) <= 3 * std::sqrt((1 / p[i] - 1) / draws) + 1e-12);
  double spread = 0;
  for (const double each : p) spread += each * (1 - each);
  CHECK(std::abs(blocks - budget) <= 3 * std::sqrt(spread / draws));
}

TEST_CASE("probabilities become proportional to stationary norms", "[compress]") {
  const std::vector<double> norms{0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1};
  const auto played = [&](bool shift, double rate) {
    auto arms = arms_of(8);
    const block_bandit bandit{.budget = 4, .floor = 0.1, .rate = rate, .shift = shift};
    std::vector<double> mean(8);
    double mean_variance = 0;
    constexpr int steps = 40000, settled = 20000;
    for (int s = 0; s < steps; ++s) {
      bandit.learn(std::span(arms));
      bandit.draw(std::span(arms), random_stream(5, purpose::compress, 0, std::uint64_t(s)));
      for (std::size_t i = 0; i < 8; ++i)
        if (arms[i].drawn != 0) arms[i].norm = 7 * norms[i], arms[i].largest = std::max(arms[i].largest, arms[i].norm);
      if (s < settled) continue;
      mean_variance += variance(arms, norms) / (steps - settled);
      for (std::size_t i = 0; i < 8; ++i) mean[i] += arms[i].probability / (steps - settled);
    }
    return std::pair{mean, mean_variance};
  };
  const auto [mean, mean_variance] = played(false, 1e-3);
  for (std::size_t i = 0; i < 8; ++i) CHECK(std::abs(mean[i] - double(i + 1) / 9) < 0.02);
  CHECK(mean_variance <= 1.02 * 5.0625);
  CHECK(mean_variance >= 5.0625);
  CHECK(played(true, 1e-5).second > mean_variance);  // the paper's shift is noise
}

TEST_CASE("jointspar equals a plain form over 20 steps", "[compress]") {
  const std::size_t blocks = 6;
  const compress::jointspar policy{.budget = 3, .floor = 0.05, .rate = 0.01};
  std::vector<compress::jointspar::state<double>> states;
  for (std::size_t i = 0; i < blocks; ++i) states.push_back(policy.make_state<double>(compress::block(20 + i)));
  states.push_back(policy.make_state<double>(compress::block(0)));  // of another compressor

  std::vector<double> p(blocks, 0.5), drawn_norm(blocks);
  std::vector<bool> drawn(blocks);
  double largest = 0;
  std::size_t sent = 0, expected_sent = 0;
  for (std::uint64_t step = 0; step < 20; ++step) {
    if (step > 0 && largest > 0) {
      auto w = p;
      for (std::size_t d = 0; d < blocks; ++d)
        if (drawn[d]) w[d] *= std::exp(std::min(1.0, 0.01 * std::pow(drawn_norm[d] / largest, 2) / std::pow(p[d], 3)));
      p = projected(w, 3, 0.05);
    }
    policy.begin_step(std::span(states), {.seed = 4, .step = step});
    for (std::size_t d = 0; d < blocks; ++d) {
      CHECK(std::abs(states[d].probability - p[d]) < 1e-12);
      const auto g = testing::detail::gaussian<double>(20 + d, std::uint32_t(step * 10 + d));
      drawn[d] = policy.active(states[d]);
      std::vector<double> values = g, wire(g.size()), sum(g.size());
      for (double& v : values) v *= double(d + 1);
      const std::size_t n = policy.encode(states[d], {}, std::span<double>(values), std::span<double>(wire));
      CHECK(n == (drawn[d] ? g.size() : 0));
      sent += n, expected_sent += drawn[d] ? 20 + d : 0;
      policy.decode_add({}, std::span<const double>(wire).first(n), std::span<double>(sum), 1.0);
      policy.after_exchange(states[d], {}, std::span<double>(sum));
      if (!drawn[d]) continue;
      drawn_norm[d] = double(d + 1) * std::sqrt(testing::detail::squared_norm(g));
      largest = std::max(largest, drawn_norm[d]);
      for (std::size_t i = 0; i < g.size(); ++i) CHECK(std::abs(sum[i] * p[d] - double(d + 1) * g[i]) < 1e-12);
    }
  }
  CHECK(sent == expected_sent);
}

TEST_CASE("jointspar's edges: no gradient at all, none drawn, bounds that cannot hold", "[compress]") {
  auto arms = arms_of(4);
  const block_bandit rare{.budget = 0.05, .floor = 0.0125};
  int empty = 0;
  for (std::uint64_t s = 0; s < 200; ++s) {
    rare.learn(std::span(arms));
    rare.draw(std::span(arms), random_stream(1, purpose::compress, 0, s));
    empty += std::all_of(arms.begin(), arms.end(), [](const block_arm& a) { return a.drawn == 0; });
  }
  CHECK(empty > 150);
  for (const auto& a : arms) CHECK(a.probability == 0.0125);

  const auto message = [](double budget, double floor) {
    auto five = arms_of(5);
    try {
      block_bandit{.budget = budget, .floor = floor}.draw(std::span(five), random_stream(1, purpose::compress));
    } catch (const usage_error& e) {
      return std::string(e.what());
    }
    return std::string("none");
  };
  CHECK(message(1, 0.2) == "none");
  CHECK_THAT(message(0.9, 0.2), Catch::Matchers::Contains("5 blocks, floor 0.2 (1 in all), budget 0.9"));
  CHECK_THAT(message(6, 0.2), Catch::Matchers::Contains("budget 6"));
  CHECK_THAT(message(1, 0), Catch::Matchers::Contains("floor > 0"));
  std::vector<block_arm> nobody;
  CHECK_NOTHROW(rare.draw(std::span(nobody), random_stream(1, purpose::compress)));
}

TEST_CASE("layers that are not wanted are not computed", "[compress]") {
  auto model = nn::mlp{.inputs = 6, .hidden = {8, 7}, .outputs = 3}.make<float>(engine::host{});
  labelled_batch batch;
  batch.samples = 4, batch.features = 6;
  batch.inputs.resize(24);
  batch.targets = {0, 1, 2, 1};
  for (std::size_t i = 0; i < 24; ++i) batch.inputs[i] = float(i % 5) - 2;
  const auto& layout = model.layout();
  std::vector<float> x(layout.size()), all(layout.size()), some(layout.size(), 77);
  model.initialise(x, 1);
  std::vector<std::uint8_t> idle(layout.blocks().size());
  idle[2] = idle[3] = 1;  // the second layer
  idle[4] = 1;            // half of the third
  nn::pass how;
  how.accumulate = false;
  std::vector<int> told(idle.size());
  model.loss_and_gradient(std::span<const float>(x), batch, std::span<float>(all), how, [](std::size_t) {});
  how.idle = idle;
  model.loss_and_gradient(std::span<const float>(x), batch, std::span<float>(some), how, [&](std::size_t b) { ++told[b]; });
  for (std::size_t b = 0; b < idle.size(); ++b) {
    CHECK(told[b] == 1);
    for (std::size_t i = layout[b].offset; i < layout[b].offset + layout[b].count; ++i) CHECK(some[i] == (b == 2 || b == 3 ? 77 : all[i]));
  }
}

TEST_CASE("the blocks of a layer are drawn together, and what is drawn decides what is computed", "[compress]") {
  const auto model = nn::mlp{.inputs = 6, .hidden = {8, 7, 9}, .outputs = 3}.make<float>(engine::host{});
  const auto& layout = model.layout();
  for (const bool layers : {true, false}) {
    const compress::jointspar policy{.share = 0.5, .floor = 0.1, .layers = layers};
    std::vector<compress::jointspar::state<float>> states;
    for (std::size_t i = 0; i < layout.blocks().size(); ++i) states.push_back(policy.make_state<float>(compress::block(layout[i], i, 1)));
    REQUIRE(states.size() == 8);
    double computed = 0, expected = 0, values = 0, expected_values = 0;
    constexpr int steps = 20000;
    for (std::uint64_t step = 0; step < steps; ++step) {
      policy.begin_step(std::span(states), {.seed = 1, .step = step});
      for (std::size_t b = 0; b < 8; b += 2) {  // weight and bias
        const double flops = double(layout[b].count), w = states[b].probability, v = states[b + 1].probability;
        if (layers) CHECK(states[b].drawn == states[b + 1].drawn);
        computed += policy.active(states[b]) || policy.active(states[b + 1]) ? flops : 0;
        expected += flops * (layers ? w : 1 - (1 - w) * (1 - v));
      }
      for (std::size_t b = 0; b < 8; ++b) {
        std::vector<float> g(layout[b].count, b < 4 ? 1.0f : 0.1f), wire(g.size()), sum(g.size());
        const std::size_t n = policy.encode(states[b], {}, std::span<float>(g), std::span<float>(wire));
        values += double(n), expected_values += states[b].probability * double(g.size());
        policy.decode_add({}, std::span<const float>(wire).first(n), std::span<float>(sum), 1.0f);
        policy.after_exchange(states[b], {}, std::span<float>(sum));
      }
    }
    CHECK(computed == Approx(expected).epsilon(0.02));
    CHECK(values == Approx(expected_values).epsilon(0.02));
    CHECK(states[2].probability > 1.5 * states[6].probability);  // large gradients are drawn more often
  }
}

TEST_CASE("jointspar trains on any number of ranks", "[compress]") {
  for (const int ranks : {1, 2, 3})
    CHECK_NOTHROW(comm::run_ranks(ranks, [&](comm::threads& world) {
      test::check_compression(world, compress::jointspar{});
      test::check_compression(world, compress::jointspar{.budget = 0.5});  // most steps have no block at all
    }));
}

TEMPLATE_TEST_CASE("lars keeps the laws and moves each block by its own norm", "[optim]", float, double) {
  using T = TestType;
  testing::check_optimizer<T>(optim::lars{});
  testing::check_optimizer<T>(optim::lars{.learning_rate = 0.1, .trust = 1, .momentum = 0, .weight_decay = 0, .adapt_vectors = true});

  const std::size_t n = 50;
  const auto x = testing::detail::gaussian<T>(n, 1), g = testing::detail::gaussian<T>(n, 2);
  const auto moved = [&](const optim::lars& rule, double times, block_kind kind = block_kind::weight) {
    auto y = x, scaled = g;
    std::vector<T> v(n);
    for (T& e : scaled) e *= T(times);
    rule.update({0, rule.learning_rate, 0.5, kind}, y.data(), scaled.data(), std::array<T*, 1>{v.data()}, n);
    return y;
  };
  const optim::lars plain{.learning_rate = 0.3, .trust = 0.01, .momentum = 0, .weight_decay = 0};
  const auto once = moved(plain, 1);
  CHECK(std::sqrt(testing::detail::squared_error(x, once)) == Approx(0.3 * 0.01 * std::sqrt(testing::detail::squared_norm(x))).epsilon(1e-5));
  CHECK(moved(plain, 4) == once);  // the length of the gradient does not matter
  CHECK(moved(plain, 0) == x);
  for (const double decay : {0.0, 0.1}) {  // the formula, written out
    const optim::lars rule{.learning_rate = 0.3, .trust = 0.01, .momentum = 0.9, .weight_decay = decay};
    const double size = std::sqrt(testing::detail::squared_norm(x)), slope = 0.5 * std::sqrt(testing::detail::squared_norm(g));
    const auto y = moved(rule, 1);
    for (std::size_t i = 0; i < n; ++i)
      CHECK(double(y[i]) == Approx(double(x[i]) - 0.3 * 0.01 * size / (slope + decay * size) * (0.5 * double(g[i]) + decay * double(x[i]))).epsilon(1e-5));
  }
  const auto bias = moved(plain, 1, block_kind::vector);
  for (std::size_t i = 0; i < n; ++i) CHECK(double(bias[i]) == Approx(double(x[i]) - 0.3 * 0.5 * double(g[i])).epsilon(1e-5));
}
