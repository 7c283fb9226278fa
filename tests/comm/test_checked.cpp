// SPDX-License-Identifier: Apache-2.0
#include "catch.hpp"

#include <exception>
#include <string>
#include <vector>

#include <entrain/comm/checked.hpp>
#include <entrain/comm/threads.hpp>

#include "comm/checked_cases.hpp"

using namespace entrain;

static_assert(comm::communicator<comm::checked<comm::threads>>);

TEST_CASE("checked collectives over threads give the same results") {
  for (const int ranks : {1, 2, 3, 4, 5}) {
    std::vector<std::string> wrong(std::size_t(ranks), "did not run");
    comm::run_ranks(ranks, [&](comm::threads& world) { wrong[std::size_t(world.rank())] = checked_cases::agreeing(world); });
    CHECK(wrong == std::vector<std::string>(std::size_t(ranks)));
  }
}

TEST_CASE("ranks that disagree on threads are named on every rank") {
  for (const int ranks : {2, 3, 4})
    for (const auto& how : checked_cases::all_ways) {
      if (how == "missing" || how == "receive") continue;
      CAPTURE(how, ranks);
      std::vector<std::string> found(std::size_t(ranks), "did not run");
      comm::run_ranks(ranks, [&](comm::threads& world) { found[std::size_t(world.rank())] = checked_cases::disagreeing(world, how); });
      for (int rank = 0; rank < ranks; ++rank) {
        const auto expected = checked_cases::expected(how, rank, ranks);
        if (!expected.empty()) CHECK(found[std::size_t(rank)] == expected);
        else CHECK(found[std::size_t(rank)].find("in pieces of 1, ") != std::string::npos);
      }
    }
}

// What is in flight at the deadline breaks the job of all threads, so the sentence is what run_ranks throws.
TEST_CASE("a rank or message that does not come ends the threads' job with a sentence") {
  for (const std::string how : {"missing", "receive"}) {
    const int culprit = how == "missing" ? 0 : 3;
    std::string found;
    try {
      comm::run_ranks(4, [&](comm::threads& world) {
        const auto message = checked_cases::disagreeing(world, how);
        if (message != "no error") throw communication_error("noticed", message);
      });
    } catch (const std::exception& e) {
      found = e.what();
    }
    CHECK(found.find(checked_cases::expected(how, culprit, 4)) != std::string::npos);
  }
}

TEST_CASE("sizes of all_to_all_v that do not fit are named with both ranks") {
  CHECK_THROWS_WITH(comm::run_ranks(3,
                                    [&](comm::threads& world) {
                                      comm::checked safe{world};
                                      std::vector<std::size_t> send(3, 2), receive(3, 2);
                                      if (world.rank() == 1) send[2] = 3;
                                      std::vector<int> in(world.rank() == 1 ? 7 : 6), out(6);
                                      comm::all_to_all_v(safe, in, send, out, receive);
                                    }),
                    "checked all_to_all_v #1: rank 1 sends 3 elements to rank 2, which expects 2");
}
