// SPDX-License-Identifier: Apache-2.0
// What comm::watched costs: nanoseconds an operation with it and without, and of the event alone.
//
// Pairs of rounds are interleaved and the quietest of each kind counts. On one rank (comm::self) a collective of nothing takes no
// time, so that the difference is the event; on two threads the rest of the operation stands beside it.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <vector>

#include <entrain/comm/collectives.hpp>
#include <entrain/comm/self.hpp>
#include <entrain/comm/threads.hpp>
#include <entrain/comm/watched.hpp>
#include <entrain/monitor/event_ring.hpp>

using namespace entrain;

namespace {

template <class Body>
double nanoseconds_each(int times, Body body) {
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < times; ++i) body();
  return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - begin).count() / times;
}

struct quietest {
  double plain = 1e30, watched = 1e30;
};
template <class Plain, class Watched>
quietest compare(Plain& plain, Watched& safe, std::size_t n, int times) {
  std::vector<float> values(n);
  quietest out;
  for (int round = 0; round < 20; ++round) {
    out.plain = std::min(out.plain, nanoseconds_each(times, [&] { comm::all_reduce(plain, values); }));
    out.watched = std::min(out.watched, nanoseconds_each(times, [&] { comm::all_reduce(safe, values); }));
  }
  return out;
}

void print(const char* name, const quietest& q) {
  std::printf("%-10s all_reduce: %8.1f ns plain, %8.1f ns watched\n", name, q.plain, q.watched);
  std::printf("value watch_%s_added_ns %.1f\n", name, q.watched - q.plain);
}

}  // namespace

int main() {
  monitor::event_ring ring(1024);
  double event = 1e30, clock = 1e30;
  for (int round = 0; round < 20; ++round) {
    event = std::min(event, nanoseconds_each(100000, [&] { ring.end(ring.begin({.count = 10, .operation = 3})); }));
    clock = std::min(clock, nanoseconds_each(100000, [] { static_cast<void>(monitor::steady_nanoseconds()); }));
  }
  std::printf("an event: %.1f ns, of which two readings of the clock take %.1f ns\n", event, 2 * clock);
  std::printf("value watch_event_ns %.1f\n", event);
  comm::self alone;
  comm::watched<comm::self> safe{alone};
  print("self", compare(alone, safe, 1, 100000));
  comm::run_ranks(2, [](comm::threads& world) {
    comm::watched<comm::threads> both{world};
    const auto q = compare(world, both, 1, 2000);
    if (world.rank() == 0) print("threads", q);
  });
}
