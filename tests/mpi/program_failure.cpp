// SPDX-License-Identifier: Apache-2.0

#include <chrono>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <entrain/comm/checked.hpp>
#include <entrain/comm/collectives.hpp>
#include <entrain/comm/mpi.hpp>
#include <entrain/comm/mpi/main.hpp>

// Jobs that go wrong in the way that the first argument names; test_failure.sh looks at how they end. One rank errs, the
// others wait for it in a collective.

using namespace entrain;

namespace {

using floats = std::vector<float>;

template <class C>
void sum_together(C& comm, std::size_t n = 10) {
  floats in(n, 1.0f), out(n);
  comm::all_reduce(comm, view<const float>(in), view<float>(out), comm::sum{});
}

[[noreturn]] void misfortune() { throw std::runtime_error("the disk of this rank is full"); }

void throw_while_in_flight(comm::mpi& world) {
  floats in(100000, 1.0f), out(100000), never(10);
  auto first = world.start_all_reduce(view<const float>(in), view<float>(out), comm::sum{});
  auto second = world.start_receive(view<float>(never), 0, 1);
  misfortune();
}

// Rank `odd` does something else than the others in the second collective.
void disagree(comm::mpi& world, const std::string& how) {
  comm::checked safe{world, {.deadline = std::chrono::seconds(2)}};
  const bool odd = world.rank() == 2;
  sum_together(safe);
  floats a(10, 1.0f), b(10);
  std::vector<double> d(10);
  if (how == "operation") {
    if (odd) comm::broadcast(safe, view<float>(a), 0);
    else sum_together(safe);
  } else if (how == "count") {
    sum_together(safe, odd ? 11 : 10);
  } else if (how == "type") {
    if (odd) comm::all_reduce(safe, view<const double>(d), view<double>(d), comm::sum{});
    else sum_together(safe);
  } else if (how == "root") {
    comm::broadcast(safe, view<float>(a), odd ? 1 : 0);
  } else if (how == "reduction") {
    if (odd) comm::all_reduce(safe, view<const float>(a), view<float>(b), comm::maximum{});
    else sum_together(safe);
  } else if (how == "missing") {
    if (odd) std::this_thread::sleep_for(std::chrono::seconds(30));
    sum_together(safe);
  } else if (how == "receive") {
    if (odd) safe.receive(view<float>(a), 3, 7);
    else sum_together(world);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::string how = argc > 1 ? argv[1] : "";
  if (how == "run_main")
    return run_main(argc, argv, [](comm::mpi& world) {
      if (world.rank() == 1) misfortune();
      sum_together(world);
    });
  if (how == "unwind") {  // a handler outside of the scope of the world: its destructor comes first
    try {
      comm::mpi world{argc, argv};
      try {
        if (world.rank() == 1) misfortune();
      } catch (const std::exception& e) {
        std::fprintf(stderr, "passing on: %s\n", e.what());
        throw;
      }
      sum_together(world);
    } catch (const std::exception&) {
      return 3;
    }
    return 0;
  }
  comm::mpi world{argc, argv};
  if (how == "nothing") {
    sum_together(world);
  } else if (how == "throw") {
    if (world.rank() == 1) misfortune();
    sum_together(world);
  } else if (how == "in_flight") {
    if (world.rank() == 1) throw_while_in_flight(world);
    sum_together(world, 100000);
    sum_together(world);
  } else if (how == "swallowed") {  // caught inside, but what was in flight is lost: the end of the world ends the job
    try {
      if (world.rank() == 1) throw_while_in_flight(world);
    } catch (const std::exception& e) {
      std::fprintf(stderr, "swallowed: %s\n", e.what());
      return 0;
    }
    sum_together(world, 100000);
    sum_together(world);
  } else if (how == "truncated") {  // an error that MPI itself reports
    floats a(10), b(2);
    if (world.rank() == 0) comm::send(world, view<const float>(a), 1, 5);
    if (world.rank() == 1) comm::receive(world, view<float>(b), 0, 5);
    sum_together(world);
  } else {
    disagree(world, how);
  }
}
