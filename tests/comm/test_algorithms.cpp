// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <vector>

#include "catch.hpp"
#include "holds.hpp"
#include <entrain/comm/collectives.hpp>
#include <entrain/comm/point_to_point_only.hpp>
#include <entrain/comm/self.hpp>
#include <entrain/comm/threads.hpp>
#include <entrain/testing/communicator_laws.hpp>

// The collectives built from messages, under the same laws as the native ones, and what they send.

using namespace entrain;
using messages_only = comm::point_to_point_only<comm::threads>;

static_assert(comm::communicator<messages_only>);
static_assert(!comm::native<messages_only, comm::collective::all_reduce, float, comm::sum>);

TEST_CASE("the algorithms obey the laws of a communicator") {
  for (const int ranks : {1, 2, 3, 4, 5, 8, 13}) {
    INFO(ranks << " ranks");
    CHECK_NOTHROW(comm::run_ranks(ranks, {.deadline = std::chrono::seconds(300)}, [&](comm::threads& world) {
      messages_only messages{world};
      testing::check_communicator(messages, {.largest = ranks > 5 ? 257u : 65537u});
    }));
  }
  comm::self world;
  comm::point_to_point_only alone{world};
  CHECK_NOTHROW(testing::check_communicator(alone, {.largest = 1000}));
}

namespace {

// Counts what an algorithm really sends.
struct counting {
  using slot_type = slot::communicator;
  using request = comm::threads::request;
  comm::threads& inner;
  std::uint64_t messages = 0, bytes = 0;
  comm::traffic counted{};
  int rank() const { return inner.rank(); }
  int size() const { return inner.size(); }
  comm::traffic& counters() { return counted; }
  std::uint64_t& sequence() { return inner.sequence(); }
  counting split(int, int) { return {inner}; }
  template <class T> request start_send(view<const T> data, int peer, int tag) {
    ++messages, bytes += data.size_bytes();
    return inner.start_send(data, peer, tag);
  }
  template <class T> request start_receive(view<T> data, int peer, int tag) { return inner.start_receive(data, peer, tag); }
};

}  // namespace

TEST_CASE("the algorithms send what their comments say") {
  const auto body = [](comm::threads& world) {
    const std::size_t n = 1000, p = 5;
    std::vector<float> a(n), whole(n * p);
    counting c{world};
    comm::all_reduce(c, a);
    HOLDS(c.messages == 2 * (p - 1));
    HOLDS(c.bytes == 2 * (p - 1) * n / p * sizeof(float));
    c.messages = c.bytes = 0;
    comm::reduce_scatter(c, whole, a);
    HOLDS(c.bytes == (p - 1) * n * sizeof(float));
    c.messages = c.bytes = 0;
    comm::all_gather(c, a, whole);
    HOLDS(c.bytes == (p - 1) * n * sizeof(float));
    c.messages = c.bytes = 0;
    comm::barrier(c);
    HOLDS(c.messages == 3);
  };
  REQUIRE_NOTHROW(comm::run_ranks(5, body));
}
