// SPDX-License-Identifier: Apache-2.0
#include "catch.hpp"

#include <cstddef>
#include <memory>
#include <vector>

#include <entrain/comm/shared_memory/engine.hpp>
#include <entrain/core/error.hpp>

// Ranks that share memory learn of one that has failed, by its number in the whole job, also from others that met it.

using namespace entrain;
namespace memory = comm::shared_memory;

TEST_CASE("a lost rank is named by its number in the job, and the first of several", "[comm]") {
  // A group of three, whose ranks are 7, 5 and 2 of the job.
  const int of_job[] = {7, 5, 2};
  const memory::shape form{.room = 4096};
  struct alignas(4096) page { std::byte bytes[4096]; };
  std::vector<std::vector<page>> segments(3, std::vector<page>(form.bytes() / sizeof(page) + 1));
  std::vector<std::byte*> base;
  for (auto& s : segments) base.push_back(s.front().bytes), memory::segment::construct(base.back(), form);
  std::vector<std::unique_ptr<memory::engine>> engines;
  for (int rank = 0; rank < 3; ++rank) engines.push_back(std::make_unique<memory::engine>(rank, base, form, memory::cutting{.chunk = 2048}, "a group"));

  for (const auto& e : engines) CHECK(e->lost_rank() == -1);
  engines[1]->give_up(of_job[1]);
  for (const auto& e : engines) CHECK(e->lost_rank() == 5);
  CHECK_THROWS_WITH(engines[0]->raise_lost(engines[0]->lost_rank()), Catch::Contains("a group") && Catch::Contains("rank 5 of the job has failed"));
  engines[0]->give_up(of_job[0]);  // a victim, whose segment others look at first
  CHECK(engines[2]->lost_rank() == 5);
}
