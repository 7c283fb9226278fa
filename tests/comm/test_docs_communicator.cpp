// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#include <entrain/comm/checked.hpp>
#include <entrain/comm/collectives.hpp>
#include <entrain/comm/placed.hpp>
#include <entrain/comm/threads.hpp>

#include "holds.hpp"

// The code of docs/communicator.md and docs/errors.md.

using namespace entrain;

TEST_CASE("collectives as the documentation calls them", "[docs]") {
  float seen = 0;
  //! [ranks]
  comm::run_ranks(4, [&](comm::threads& world) {
    std::vector<float> gradient(1000, float(world.rank()));
    comm::all_reduce(world, gradient);  // in place, sum: now 0 + 1 + 2 + 3 everywhere

    auto request = comm::start_all_reduce(world, gradient, comm::maximum{});
    // ... work that does not touch the gradient ...
    request.wait();

    auto pair = world.split(world.rank() / 2, world.rank());  // ranks {0, 1} and {2, 3}
    comm::broadcast(pair, gradient, 0);
    if (world.rank() == 3) seen = gradient[999];
  });
  //! [ranks]
  CHECK(seen == 6.0f);
}

namespace {

//! [operation]
struct larger_magnitude {
  static constexpr std::string_view name = "larger_magnitude";
  static constexpr bool commutative = false;  // of 2 and -2 the left one stays
  template <class T>
  static constexpr T combine(T a, T b) { return std::abs(a) < std::abs(b) ? b : a; }
};
//! [operation]

}  // namespace

TEST_CASE("an operation of one's own, as in the documentation", "[docs]") {
  comm::run_ranks(3, [](comm::threads& world) {
    std::vector<int> values{world.rank() == 1 ? -7 : world.rank()};
    comm::all_reduce(world, values, larger_magnitude{});
    HOLDS(values[0] == -7);
  });
}

TEST_CASE("a placement says what a gradient is", "[docs]") {
  comm::run_ranks(2, [](comm::threads& world) {
    std::vector<float> gradient(8, 1.0f);
    //! [placement]
    const placed<float, partial> mine{gradient};                                      // each rank holds a summand
    const placed<float, sharded> piece = comm::reduce_scatter(world, mine);           // each rank holds 1/p of the sum
    const placed<float, replicated> whole = comm::all_gather(world, piece, gradient);  // each rank holds the sum
    //! [placement]
    HOLDS(piece.values.size() == 4);
    HOLDS(whole.values[7] == 2.0f);
  });
}

TEST_CASE("a rank that throws ends the job on threads", "[docs]") {
  std::string told;
  //! [throws]
  try {
    comm::run_ranks(4, [](comm::threads& world) {
      if (world.rank() == 2) throw std::runtime_error("sample 17 is damaged");
      comm::barrier(world);  // the others wait here; it throws "rank 2 failed: sample 17 is damaged" for them
    });
  } catch (const std::exception& e) {
    told = e.what();  // "sample 17 is damaged": the exception of the rank that failed first
  }
  //! [throws]
  CHECK(told == "sample 17 is damaged");
}

TEST_CASE("ranks that disagree are named", "[docs]") {
  const auto disagree = [] {
    //! [checked]
    comm::run_ranks(4, [](comm::threads& world) {
      comm::checked safe{world, {.deadline = std::chrono::seconds(5)}};
      std::vector<float> values(10);
      if (safe.rank() == 2) comm::broadcast(safe, values);
      else comm::all_reduce(safe, values);
    });
    //! [checked]
  };
  // Every rank throws and names first what it called itself; whose exception arrives here is the scheduler's choice.
  using Catch::Matchers::EndsWith;
  CHECK_THROWS_WITH(disagree(), EndsWith("#1: rank 2 called broadcast of 10 f32 where ranks 0, 1, 3 called all_reduce of 10 f32"));
}
