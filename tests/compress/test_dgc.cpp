// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <cmath>
#include <cstring>
#include <vector>

#include <entrain/compress/dgc.hpp>
#include <entrain/compress/none.hpp>
#include <entrain/compress/per_layer.hpp>
#include <entrain/compress/way.hpp>
#include <entrain/testing/compressor_laws.hpp>

#include "exchange_by_hand.hpp"
#include "sparse.hpp"

using namespace entrain;
using compress::dgc;

namespace {

// Deep gradient compression of one block on p ranks, in double and in the order of the paper. Which entries are sent is taken from what
// the selection under test sent (a sample decides it), and held to the paper's bounds here: the largest ones, 0.8 k to 1.3 k.
struct plain_dgc {
  std::size_t n;
  double mu, clip;
  bool nesterov, mask;
  std::vector<std::vector<double>> u, v;

  std::vector<double> before_sending(std::size_t r, std::vector<double> g, std::size_t ranks) {
    double squares = 0;
    for (const double x : g) squares += x * x;
    const double most = clip / std::sqrt(double(ranks)), factor = clip > 0 && std::sqrt(squares) > most ? most / std::sqrt(squares) : 1;
    for (std::size_t i = 0; i < n; ++i) {
      const double c = g[i] * factor;
      if (nesterov) u[r][i] = mu * (u[r][i] + c), v[r][i] += u[r][i] + c;  // the paper's buffer is mu times sgd's
      else u[r][i] = mu * u[r][i] + c, v[r][i] += u[r][i];
    }
    return v[r];
  }
};

std::vector<std::uint32_t> indices(const sparse::entries<double>& wire) {
  std::vector<std::uint32_t> out;
  for (const auto& e : wire) out.push_back(e.index);
  return out;
}

}  // namespace

TEMPLATE_TEST_CASE("DGC keeps the laws", "[compress]", float, double) {
  testing::check_compressor<TestType>(dgc{.ratio = 0.05, .steps_each = 0});
  testing::check_compressor<TestType>(dgc{.ratio = 0.01, .nesterov = true, .clip = 2, .steps_each = 2});
  testing::check_compressor<TestType>(dgc{});
}

TEST_CASE("DGC equals its plain form over 20 steps on 4 ranks", "[compress]") {
  const std::size_t n = 3000, ranks = 4;
  for (const bool nesterov : {false, true})
    for (const bool mask : {false, true}) {
      const dgc c{.ratio = 0.01, .momentum = 0.7, .nesterov = nesterov, .mask = mask, .clip = 40, .steps_each = 3};
      const std::size_t kept[] = {750, 188, 47, 30, 30, 30, 30};  // the stage of 0.4 % keeps the compressor's own 1 %
      plain_dgc plain{n, 0.7, 40, nesterov, mask, std::vector<std::vector<double>>(ranks, std::vector<double>(n)), {}};
      plain.v = plain.u;
      std::vector<decltype(c.make_state<double>(n))> states;
      for (std::size_t r = 0; r < ranks; ++r) states.push_back(c.make_state<double>(n));
      for (std::uint64_t step = 0; step < 20; ++step)
        for (std::size_t r = 0; r < ranks; ++r) {
          auto g = sparse::gaussian<double>(n, 100 * step + r);
          const compress::context where{.seed = 5, .step = step, .block = 1, .rank = std::uint32_t(r), .ranks = std::uint32_t(ranks)};
          const auto all = plain.before_sending(r, g, ranks);
          const auto wire = sparse::encode(c, states[r], where, g);
          const std::size_t k = kept[step / 3];
          REQUIRE(wire.size() >= std::size_t(std::ceil(0.8 * double(k))));
          REQUIRE(wire.size() <= std::size_t(std::ceil(1.3 * double(k))));
          REQUIRE(indices(wire) == sparse::largest(all, wire.size()));
          for (const auto& e : wire) {
            REQUIRE(e.value == Approx(all[e.index]).margin(1e-12));
            plain.v[r][e.index] = 0;
            if (mask) plain.u[r][e.index] = 0;
          }
          for (std::size_t i = 0; i < n; ++i) REQUIRE(states[r].unsent[i] == Approx(plain.v[r][i]).margin(1e-12));
        }
    }
}

TEST_CASE("DGC at 100 % is momentum SGD, bit for bit", "[compress]") {
  const std::size_t n = 500;
  const dgc c{.ratio = 1, .momentum = 0.9, .steps_each = 3};
  auto state = c.make_state<double>(n);
  std::vector<double> velocity(n);
  for (std::uint64_t step = 0; step < 20; ++step) {
    auto g = sparse::gaussian<double>(n, step);
    for (std::size_t i = 0; i < n; ++i) velocity[i] = 0.9 * velocity[i] + g[i];
    std::vector<double> found(n);
    const auto wire = sparse::encode(c, state, {.step = step}, g);
    c.decode_add({}, std::span<const compress::sparse_entry<double>>(wire), std::span<double>(found), 1.0);
    REQUIRE(std::memcmp(found.data(), velocity.data(), n * sizeof(double)) == 0);
  }
}

TEST_CASE("DGC clips by the square root of the number of ranks, block by block", "[compress]") {
  const std::size_t n = 100;
  const dgc c{.ratio = 1, .momentum = 0, .clip = 6, .steps_each = 0};
  const auto norm_of = [&](std::uint32_t ranks, double length) {
    auto state = c.make_state<double>(n);
    const auto wire = sparse::encode(c, state, {.ranks = ranks}, std::vector<double>(n, length / 10));
    double squares = 0;
    for (const auto& e : wire) squares += e.value * e.value;
    return std::sqrt(squares);
  };
  CHECK(norm_of(1, 100) == Approx(6));
  CHECK(norm_of(4, 100) == Approx(3));
  CHECK(norm_of(9, 100) == Approx(2));
  CHECK(norm_of(9, 1.5) == Approx(1.5));
  CHECK(norm_of(1, 1e200) == Approx(6));
  CHECK(norm_of(4, 0) == 0);
}

TEST_CASE("bytes of DGC: the first stage's capacity, then 0.1 %", "[compress]") {
  const std::size_t n = 100000;
  const dgc c{.steps_each = 2};
  CHECK(c.wire_count<float>(n) == 32500);  // ceil(1.3 * 25 %)
  CHECK(dgc{.steps_each = 0}.wire_count<float>(n) == 130);
  CHECK(c.wire_count<float>(0) == 0);
  CHECK(c.wire_count<float>(1) == 1);
  auto state = c.make_state<float>(n);
  CHECK(state_bytes(state) == 8 * n);  // u and v
  for (std::uint64_t step = 0; step < 20; ++step) {
    const auto sent = sparse::encode(c, state, {.step = step}, sparse::gaussian<float>(n, step)).size();
    const double k = step < 2 ? 25000 : step < 4 ? 6250 : step < 6 ? 1563 : step < 8 ? 400 : 100;
    CHECK(double(sent) >= std::ceil(0.8 * k));
    CHECK(double(sent) <= std::ceil(1.3 * k));
  }
}

TEST_CASE("DGC at 1 % arrives where momentum SGD does", "[compress]") {
  // Noisy least squares of 256 parameters on 4 ranks: the distance from the solution, which is noise alone in the end.
  const std::size_t n = 256, ranks = 4;
  const auto distance = [&](const auto& c, double rate) {
    using C = std::decay_t<decltype(c)>;
    test::by_hand<double, C> hand(c, n, ranks);
    std::vector<double> x(n, 1.0);
    for (std::uint64_t step = 0; step < 1500; ++step) {
      std::vector<std::vector<double>> g(ranks, std::vector<double>(n));
      for (std::size_t r = 0; r < ranks; ++r) {
        const auto noise = sparse::gaussian<double>(n, 9000 + step * ranks + r);
        for (std::size_t i = 0; i < n; ++i) g[r][i] = (0.2 + 0.8 * double(i) / double(n)) * x[i] + 0.05 * noise[i];
      }
      const auto sum = hand.step(g, step).front();
      for (std::size_t i = 0; i < n; ++i) x[i] -= rate / double(ranks) * sum[i];
    }
    double squares = 0;
    for (const double v : x) squares += v * v;
    return std::sqrt(squares / double(n));
  };
  const double dense = distance(dgc{.ratio = 1, .steps_each = 0}, 0.003), sparse = distance(dgc{.ratio = 0.01, .steps_each = 0}, 0.003);
  CHECK(dense < 0.006);
  CHECK(sparse < 1.2 * dense);
}

TEST_CASE("the recipe: matrices by DGC, the rest whole with the same momentum", "[compress]") {
  using namespace compress;
  const rule matrices{travel{dgc{.steps_each = 500}, way::gather}, {.matrices = true, .at_least = 1024}};
  const per_layer recipe{matrices, momentum_correction{none{}}};
  CHECK(recipe.choose(block(64, 32), 0) == 0);
  CHECK(recipe.choose(block(4096), 0) == 1);
  CHECK(recipe.choose(block(8, 8), 0) == 1);
  STATIC_REQUIRE(compression<decltype(recipe), float>);
  STATIC_REQUIRE(has_momentum<travel<dgc>>);
  STATIC_REQUIRE(keeps_residual<travel<dgc>>);
  CHECK(dgc{} == dgc{});
  CHECK_FALSE(dgc{} == dgc{.clip = 1});
  CHECK(dgc{}.describe() == "dgc{ratio 0.001, momentum 0.9, nesterov no, mask yes, clip 0, steps_each 100, sample 0.01}");
}
