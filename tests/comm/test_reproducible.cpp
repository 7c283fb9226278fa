// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <vector>

#include "catch.hpp"
#include "counted_allocations.hpp"
#include "reproducible_cases.hpp"
#include <entrain/comm/collectives.hpp>
#include <entrain/comm/point_to_point_only.hpp>
#include <entrain/comm/self.hpp>
#include <entrain/comm/threads.hpp>

// The reproducible all-reduce: the bits of the sequential tree for every number of ranks.

using namespace entrain;
using comm::tree::node;

TEST_CASE("the tree covers ranges of leaves with few nodes") {
  for (std::size_t total = 1; total <= 33; ++total)
    for (std::size_t p = 1; p <= 13; ++p) {
      std::vector<node> nodes;
      std::size_t next = 0;
      for (std::size_t r = 0; r < p; ++r) {
        const part range = nth_part(total, r, p);
        const std::size_t before = nodes.size();
        comm::tree::cover({range.first, range.first + range.count}, {0, total}, nodes);
        CHECK(nodes.size() - before <= 2 * std::size_t(std::bit_width(total)));
      }
      for (const node& n : nodes) {
        CHECK(n.first == next);
        next = n.last;
      }
      CHECK(next == total);
      comm::tree::program whole;
      whole.build({0, total}, nodes);
      CHECK(whole.inputs() == nodes.size());
    }
  std::vector<node> nodes;
  for (std::size_t r = 0; r < 4; ++r) comm::tree::cover({2 * r, 2 * r + 2}, {0, 8}, nodes);
  CHECK(nodes.size() == 4);  // one a rank
  CHECK(comm::tree::siblings({4, 6}, {6, 7}, 7));
  CHECK_FALSE(comm::tree::siblings({2, 4}, {4, 6}, 8));
  CHECK_FALSE(comm::tree::siblings({4, 6}, {6, 7}, 8));
}

TEST_CASE("a reproducible all-reduce has the bits of the sequential tree on any number of ranks") {
  for (const int ranks : {1, 2, 3, 4, 5, 6, 7, 8, 13}) {
    INFO(ranks << " ranks");
    CHECK_NOTHROW(comm::run_ranks(ranks, {.deadline = std::chrono::seconds(300)}, [&](comm::threads& world) {
      tests::check_reproducible_laws(world, {1, 2, 3, 4, 6, 8, 12});
      tests::check_reproducible_in_flight(world);
      if (ranks == 3 || ranks == 4) {
        comm::point_to_point_only messages{world};
        tests::check_reproducible_laws(messages, {6, 8});
      }
      if (ranks <= 3) tests::check_reproducible<float, comm::sum>(world, 5, 400001);  // several segments
      if (ranks == 3) tests::check_reproducible<float, comm::sum>(world, 3, 900001);
    }));
  }
  comm::self alone;
  CHECK_NOTHROW(tests::check_reproducible_laws(alone, {1, 2, 3, 7, 12}));
}

TEST_CASE("a reproducible all-reduce says what is wrong with its sizes") {
  comm::self alone;
  std::vector<float> leaves(30), out(10);
  CHECK_THROWS_AS(comm::reproducible_all_reduce(alone, leaves, out, comm::sum{}, 4), usage_error);
  CHECK_THROWS_AS(comm::reproducible_all_reduce(alone, leaves, out, comm::sum{}, 0), usage_error);
  comm::reproducible_accumulator<float> shards(alone, 2, 10);
  shards.add(view<const float>(out));
  CHECK_THROWS_AS(shards.all_reduce(alone, view<float>(out)), usage_error);
  shards.add(view<const float>(out));
  CHECK_THROWS_AS(shards.add(view<const float>(out)), usage_error);
}

TEST_CASE("a reproducible all-reduce allocates nothing after the first rounds") {
  const auto body = [](comm::threads& world) {
    constexpr std::size_t n = 60000;
    const part mine = nth_part(8, std::size_t(world.rank()), std::size_t(world.size()));
    std::vector<float> leaves(mine.count * n, 1.0f), small(mine.count * 10, 1.0f), out(n), out_small(10);
    comm::reproducible_accumulator<float> shards(world, 8, n);
    const auto round = [&] {
      auto first = comm::start_reproducible_all_reduce(world, leaves, out, comm::sum{}, 8);
      auto second = comm::start_reproducible_all_reduce(world, small, out_small, comm::sum{}, 8);
      second.wait(), first.wait();
      for (std::size_t k = 0; k < mine.count; ++k) shards.add(view<const float>(leaves.data() + k * n, n));
      shards.all_reduce(world, view<float>(out));
      HOLDS(out[5] == 8.0f && out_small[3] == 8.0f);
    };
    for (int i = 0; i < 4; ++i) round();
    comm::barrier(world);
    if (world.rank() == 0) test::allocations = 0, test::counting = true;
    comm::barrier(world);
    for (int i = 0; i < 10; ++i) round();
    comm::barrier(world);
    if (world.rank() == 0) test::counting = false;
    comm::barrier(world);
    HOLDS(test::allocations == 0);
  };
  REQUIRE_NOTHROW(comm::run_ranks(3, body));
}
