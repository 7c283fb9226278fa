// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <entrain/parallel/partition.hpp>
#include <entrain/parallel/schedule.hpp>

using namespace entrain;
namespace schedule = parallel::schedule;

TEMPLATE_TEST_CASE("synchronous schedules take the published time", "[pipeline]", schedule::gpipe, schedule::one_forward_one_backward) {
  const auto small = schedule::examine(schedule::orders_of<TestType>(4, 8), 8);  // F = 1, B = 2
  CHECK(small.makespan == 33);
  CHECK(small.bubble == Approx(3.0 / 11));
  const auto large = schedule::examine(schedule::orders_of<TestType>(8, 16), 16);
  CHECK(large.makespan == 69);
  CHECK(large.bubble == Approx(7.0 / 23));
}

TEST_CASE("1F1B keeps p - s micro-batches, GPipe all", "[pipeline]") {
  CHECK(schedule::examine(schedule::orders_of<schedule::gpipe>(4, 8), 8).peak == std::vector<std::size_t>{8, 8, 8, 8});
  CHECK(schedule::examine(schedule::orders_of<schedule::one_forward_one_backward>(4, 8), 8).peak == std::vector<std::size_t>{4, 3, 2, 1});
  CHECK(schedule::examine(schedule::orders_of<schedule::one_forward_one_backward>(4, 2), 2).peak == std::vector<std::size_t>{2, 2, 2, 1});
}

TEST_CASE("every shape is free of deadlock", "[pipeline]") {
  for (std::size_t p = 1; p <= 8; ++p)
    for (std::size_t n = 1; n <= 9; ++n) {
      CHECK_NOTHROW(schedule::examine(schedule::orders_of<schedule::gpipe>(p, n), n));
      CHECK_NOTHROW(schedule::examine(schedule::orders_of<schedule::one_forward_one_backward>(p, n), n));
    }
}

TEST_CASE("a schedule that cannot run is refused by name", "[pipeline]") {
  using schedule::work;
  const std::vector<schedule::order> backward_first{{{work::backward, 0}, {work::forward, 0}}};
  CHECK_THROWS_WITH(schedule::examine(backward_first, 1), Catch::Matchers::Contains("stage 0 waits for the input of B0"));
  const std::vector<schedule::order> forgotten{{{work::forward, 0}}};
  CHECK_THROWS_WITH(schedule::examine(forgotten, 1), Catch::Matchers::Contains("does not do all its work"));
}

TEST_CASE("cuts balance the most expensive stage", "[pipeline]") {
  CHECK(parallel::balanced_cuts({1, 1, 1, 1}, 2) == std::vector<std::size_t>{0, 2, 4});
  CHECK(parallel::balanced_cuts({5, 1, 1, 1, 1, 1}, 2) == std::vector<std::size_t>{0, 1, 6});
  CHECK(parallel::balanced_cuts({1, 2, 3}, 3) == std::vector<std::size_t>{0, 1, 2, 3});
  CHECK_THROWS_WITH(parallel::balanced_cuts({1, 2}, 3), Catch::Matchers::Contains("too few pieces"));
}
