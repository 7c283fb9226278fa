// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <cstdlib>
#include <new>
#include <vector>

#include "catch.hpp"
#include "holds.hpp"
#include <entrain/comm/collectives.hpp>
#include <entrain/comm/point_to_point_only.hpp>
#include <entrain/comm/threads.hpp>

// After the first round nothing is allocated: this program counts every allocation, of all its threads.

namespace {
std::atomic<long> allocations{0};
}
[[gnu::noinline]] void* operator new(std::size_t bytes) {
  ++allocations;
  if (void* p = std::malloc(bytes ? bytes : 1)) return p;
  throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new(std::size_t bytes, std::align_val_t alignment) {
  ++allocations;
  const auto a = std::size_t(alignment);
  if (void* p = std::aligned_alloc(a, (bytes + a - 1) / a * a)) return p;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }

using namespace entrain;

TEST_CASE("collectives and messages on threads allocate nothing after the first round") {
  const auto body = [](comm::threads& world) {
    comm::point_to_point_only messages{world};
    std::vector<float> small(4), large(30000), whole(90000);
    const auto round = [&](auto& c) {
      auto first = comm::start_all_reduce(c, large);
      auto second = comm::start_all_reduce(c, small);
      second.wait(), first.wait();
      comm::reduce(c, large);
      comm::reduce_scatter(c, whole, large);
      comm::all_gather(c, large, whole);
      comm::broadcast(c, large, 1);
      comm::barrier(c);
      comm::send_receive(c, large, (c.rank() + 1) % 3, view<float>(whole).subview(0, 30000), (c.rank() + 2) % 3);
    };
    for (int i = 0; i < 3; ++i) round(world), round(messages);
    comm::barrier(world);
    const long before = allocations;
    comm::barrier(world);  // all have looked before anyone goes on
    for (int i = 0; i < 20; ++i) round(world), round(messages);
    comm::barrier(world);
    const long after = allocations;
    comm::barrier(world);
    HOLDS(after == before);
  };
  REQUIRE_NOTHROW(comm::run_ranks(3, body));
}
