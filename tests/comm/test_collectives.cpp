// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <span>
#include <vector>

#include "catch.hpp"
#include "holds.hpp"
#include <entrain/comm/collectives.hpp>
#include <entrain/comm/placed.hpp>
#include <entrain/comm/self.hpp>
#include <entrain/comm/threads.hpp>

// How the free functions are called: what may be passed, what is refused, and the conversions between placements.

using namespace entrain;

TEST_CASE("operands are vectors, arrays, spans, views or buffers") {
  const auto body = [](comm::threads& world) {
    std::vector<float> vector(4, 1.0f);
    std::array<float, 4> array{1, 1, 1, 1};
    buffer<float> owned(4);
    comm::all_reduce(world, vector);
    comm::all_reduce(world, array, owned);
    comm::all_reduce(world, std::span(vector));
    comm::all_reduce(world, view<float>(vector).subview(0, 2), comm::maximum{});
    comm::all_reduce(world, view<const float>(vector), owned.subview(0, 4), comm::minimum{});
    const std::vector<float> constant(2, 3.0f);
    comm::all_gather(world, constant, owned);
    HOLDS(owned[3] == 3.0f);
    HOLDS(vector[0] == 4.0f);
    HOLDS(comm::all_reduce_value(world, world.rank() + 5, comm::maximum{}) == 6);
  };
  REQUIRE_NOTHROW(comm::run_ranks(2, body));
}

TEST_CASE("errors name the operation, the size expected and the size found") {
  comm::self world;
  std::vector<float> three(3), four(4);
  try {
    comm::all_reduce(world, three, four);
    FAIL("accepted");
  } catch (const usage_error& e) {
    CHECK(e.where() == "comm::all_reduce");
    CHECK(e.expected() == "3 elements");
    CHECK(e.found() == "4 elements");
  }
}

TEST_CASE("placements change by communication only") {
  const auto body = [](comm::threads& world) {
    std::vector<float> gradient(12, float(world.rank() + 1));
    const placed<float, sharded> piece = comm::reduce_scatter(world, placed<float, partial>{gradient, 100});
    HOLDS(piece.values.size() == 4);
    HOLDS(piece.offset == 100 + 4 * std::size_t(world.rank()));
    HOLDS(piece.values[3] == 6.0f);
    const placed<float, replicated> whole = comm::all_gather(world, piece, gradient);
    HOLDS(whole.offset == 100);
    for (const float x : gradient) HOLDS(x == 6.0f);
    const placed<float, replicated> sum = comm::all_reduce(world, placed<float, partial>{gradient, 100});
    HOLDS(sum.values[11] == 18.0f);
    std::vector<float> uneven(10);
    HOLDS_THROWS(usage_error, comm::reduce_scatter(world, placed<float, partial>{uneven}));
  };
  REQUIRE_NOTHROW(comm::run_ranks(3, body));
}
