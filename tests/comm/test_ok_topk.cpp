// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <cmath>
#include <limits>
#include <vector>

#include "catch.hpp"
#include "counted_allocations.hpp"
#include "ok_topk_cases.hpp"
#include <entrain/comm/collectives.hpp>
#include <entrain/comm/point_to_point_only.hpp>
#include <entrain/comm/reproducible.hpp>
#include <entrain/comm/self.hpp>
#include <entrain/comm/sparse_all_reduce.hpp>
#include <entrain/comm/threads.hpp>

// Ok-Topk: the k largest of a sum over ranks.

using namespace entrain;

TEST_CASE("Ok-Topk does what its description says, on any number of ranks") {
  for (const int ranks : {1, 2, 3, 4, 5, 6, 7, 8, 13}) {
    INFO(ranks << " ranks");
    CHECK_NOTHROW(comm::run_ranks(ranks, {.deadline = std::chrono::seconds(300)}, [&](comm::threads& world) { tests::check_ok_top_k_laws(world); }));
  }
  comm::self alone;
  CHECK_NOTHROW(tests::check_ok_top_k_laws(alone));
}

TEST_CASE("Ok-Topk sends less than six words an entry, and its regions are balanced") {
  for (const int ranks : {2, 4, 7}) {
    INFO(ranks << " ranks");
    CHECK_NOTHROW(comm::run_ranks(ranks, [&](comm::threads& world) {
      tests::check_ok_top_k_volume(world, tests::shape::random);
      tests::check_ok_top_k_volume(world, tests::shape::one_region);
    }));
  }
}

TEST_CASE("the regions of Ok-Topk follow the entries at the next estimate") {
  const auto body = [](comm::threads& world) {
    constexpr std::size_t d = 8000, k = 160;
    comm::ok_top_k<float> sparse(world.size(), d, k, {.threshold_period = 4, .boundary_period = 8});
    std::vector<float> x(d);
    for (std::size_t t = 0; t < 9; ++t) {  // from step 5 on everything lies in the upper half
      for (std::size_t i = 0; i < d; ++i) x[i] = tests::ok_value<float>(tests::shape::moving, i, d, world.rank(), t);
      sparse.all_reduce(world, std::span<const float>(x));
      const double mean = double(comm::all_reduce_value(world, int(sparse.selected().size()))) / world.size();
      const auto most = double(comm::all_reduce_value(world, int(sparse.received()), comm::maximum{}));
      if (t < 5 || t == 8) HOLDS(most < 1.5 * mean);
      else HOLDS(most > 3 * mean && sparse.rebalanced());
    }
    for (int b = 1; b < world.size(); ++b) HOLDS(sparse.boundaries()[std::size_t(b)] >= d / 2);
  };
  REQUIRE_NOTHROW(comm::run_ranks(8, body));
}

TEST_CASE("with error feedback nothing is lost: what was applied and what is left make up all gradients") {
  const auto body = [](comm::threads& world) {
    constexpr std::size_t d = 400, k = 10;
    comm::ok_top_k<double> sparse(world.size(), d, k);
    std::vector<double> residual(d), given(d), applied(d), left(d);
    for (std::size_t t = 0; t < 50; ++t) {
      for (std::size_t i = 0; i < d; ++i) {
        const double g = tests::ok_value<int>(tests::shape::random, i, d, world.rank(), t);  // whole numbers: sums are exact
        residual[i] += g, given[i] += g;
      }
      sparse.all_reduce(world, std::span<const double>(residual));
      sparse.add_to(applied, 1.0);
      // What is in the result but was not selected here stays; what was selected here but is not in the result, too.
      for (const auto i : sparse.cleared()) residual[i] = 0;
    }
    left = residual;
    comm::all_reduce(world, given);
    comm::all_reduce(world, left);
    for (std::size_t i = 0; i < d; ++i) HOLDS(applied[i] + left[i] == given[i]);
  };
  REQUIRE_NOTHROW(comm::run_ranks(4, body));
}

TEST_CASE("Ok-Topk lets a NaN be seen, and refuses what cannot work") {
  comm::self alone;
  std::vector<float> x(100, 1.0f);
  x[70] = std::nanf(""), x[20] = -5;
  comm::ok_top_k<float> sparse(1, 100, 2);
  sparse.all_reduce(alone, std::span<const float>(x));
  REQUIRE(sparse.indices().size() == 2);
  CHECK(sparse.indices()[0] == 20);
  CHECK(std::isnan(sparse.values()[1]));
  CHECK_THROWS_AS(sparse.all_reduce(alone, std::span<const float>(x).first(99)), usage_error);
  CHECK_THROWS_AS(comm::ok_top_k<float>(1, 100, 0), usage_error);
  CHECK_THROWS_AS(comm::ok_top_k<float>(1, 100, 101), usage_error);
  comm::ok_top_k<float> for_two(2, 100, 2);
  CHECK_THROWS_AS(for_two.all_reduce(alone, std::span<const float>(x)), usage_error);
}

TEST_CASE("Ok-Topk: several in flight in any order, and no allocation after the first steps") {
  const auto body = [](comm::threads& world) {
    constexpr std::size_t d = 3000;
    std::vector<comm::ok_top_k<float>> sparse;
    for (int i = 0; i < 3; ++i) sparse.emplace_back(world.size(), d, 30);
    std::vector<std::vector<float>> x(3, std::vector<float>(d));
    std::size_t t = 0;
    const auto round = [&] {
      for (std::size_t s = 0; s < 3; ++s)
        for (std::size_t i = 0; i < d; ++i) x[s][i] = tests::ok_value<float>(tests::shape::random, i + s, d, world.rank(), t);
      ++t;
      auto a = sparse[0].start_all_reduce(world, std::span<const float>(x[0]));
      auto b = sparse[1].start_all_reduce(world, std::span<const float>(x[1]));
      auto c = sparse[2].start_all_reduce(world, std::span<const float>(x[2]));
      if (world.rank() == 1) c.wait(), b.wait(), a.wait();
      else a.wait(), c.wait(), b.wait();
    };
    for (int i = 0; i < 4; ++i) round();
    comm::barrier(world);
    if (world.rank() == 0) test::allocations = 0, test::counting = true;
    comm::barrier(world);
    for (int i = 0; i < 70; ++i) round();
    comm::barrier(world);
    if (world.rank() == 0) test::counting = false;
    comm::barrier(world);
    HOLDS(test::allocations == 0);
  };
  REQUIRE_NOTHROW(comm::run_ranks(3, body));
}

TEST_CASE("collectives of every kind in flight together end in any order of waiting") {
  const auto body = [](comm::threads& world) {
    comm::point_to_point_only messages{world};  // what is native elsewhere is built step by step here
    using C = decltype(messages);
    constexpr std::size_t d = 2000;
    const auto p = std::size_t(world.size());
    std::vector<float> ones(d, 1.0f), sum(d, 1.0f), fixed(d), x(d);
    for (std::size_t i = 0; i < d; ++i) x[i] = float(i % 97);
    comm::ok_top_k<float> sparse(world.size(), d, 20);
    comm::sparse_stream<float> stream(d);
    const std::vector<std::uint32_t> indices{1, 7};
    for (int round = 0; round < 6; ++round) {
      std::fill(sum.begin(), sum.end(), 1.0f);
      stream.clear();
      stream.append({indices, std::span<const float>(ones).first(2)});
      comm::pending<C> a = comm::start_all_reduce(messages, sum);
      auto b = comm::start_reproducible_all_reduce(messages, ones, fixed, comm::sum{}, p);
      auto c = comm::start_sparse_all_reduce(messages, stream);
      auto e = sparse.start_all_reduce(messages, std::span<const float>(x));
      switch ((world.rank() + round) % 4) {
        case 0: a.wait(), b.wait(), c.wait(), e.wait(); break;
        case 1: e.wait(), c.wait(), b.wait(), a.wait(); break;
        case 2: c.wait(), a.wait(), e.wait(), b.wait(); break;
        default: b.wait(), e.wait(), a.wait(), c.wait(); break;
      }
      HOLDS(sum[d - 1] == float(p) && fixed[d - 1] == float(p) && stream.value(1) == float(p));
      HOLDS(sparse.indices().size() > 0 && sparse.values()[0] == float(p) * x[sparse.indices()[0]]);
    }
  };
  for (const int ranks : {2, 3, 5}) REQUIRE_NOTHROW(comm::run_ranks(ranks, {.deadline = std::chrono::seconds(60)}, body));
}
