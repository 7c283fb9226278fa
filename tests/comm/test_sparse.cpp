// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <vector>

#include "catch.hpp"
#include "counted_allocations.hpp"
#include "sparse_cases.hpp"
#include <entrain/comm/collectives.hpp>
#include <entrain/comm/self.hpp>
#include <entrain/comm/threads.hpp>

// Sparse streams and their all-reduce.

using namespace entrain;

namespace {
template <class T>
void switch_at_the_formula(std::size_t d) {
  const std::size_t most = d * sizeof(T) / (4 + sizeof(T));  // pairs that are no longer than the whole
  std::vector<tests::pair_of<T>> pairs;
  for (std::size_t i = 0; i <= most && i < d; ++i) pairs.push_back({std::uint32_t(i), T(float(i % 5 + 1))});
  for (const bool one_by_one : {false, true}) {
    comm::sparse_stream<T> s(d);
    const std::span<const tests::pair_of<T>> all(pairs);
    if (one_by_one)
      for (std::size_t i = 0; i < most; ++i) s.append(all.subspan(i, 1));
    else s.append(all.first(most));
    CHECK_FALSE(s.dense());
    CHECK(s.bytes() == most * (4 + sizeof(T)));
    s.append(all.subspan(most));
    CHECK(s.dense());
    CHECK(s.bytes() == d * sizeof(T));
    for (std::size_t i = 0; i < d; ++i) CHECK(float(s.whole()[i]) == (i <= most ? float(i % 5 + 1) : 0.0f));
  }
  // In a merge: `most` in the union stays pairs, one more does not, however many the two have in common.
  for (const std::size_t common : {std::size_t(0), most / 2})
    for (const std::size_t total : {most, most + 1}) {
      comm::sparse_stream<T> low(d), high(d), spare(d);
      const std::span<const tests::pair_of<T>> all(pairs);
      const std::size_t half = total / 2;
      low.append(all.first(half + common > most ? most : half + common));
      high.append(all.subspan(half, total - half));
      auto& out = merge_add(low, high, spare, comm::sum{});
      CHECK(out.dense() == (total > most));
      CHECK(out.count() == (total > most ? d : total));
    }
}
}  // namespace

TEST_CASE("a stream becomes whole exactly when pairs would be longer") {
  switch_at_the_formula<float>(100);
  switch_at_the_formula<double>(99);
  switch_at_the_formula<bfloat16>(61);
  switch_at_the_formula<int>(7);
}

TEST_CASE("streams take entries in pieces and refuse what does not ascend") {
  comm::sparse_stream<float> s(100);
  const std::vector<std::uint32_t> indices{1, 5, 9};
  const std::vector<float> values{1, 2, 3};
  s.append({indices, values});
  s.append({indices, values}, 20);  // a block that begins at 20
  CHECK(s.count() == 6);
  CHECK(s.index(3) == 21);
  CHECK(s.value(5) == 3);
  CHECK_THROWS_AS(s.append({indices, values}, 20), usage_error);
  s.clear();
  CHECK_THROWS_AS(s.append({indices, values}, 91), usage_error);
  CHECK_THROWS_AS((comm::sparse_entries<float>{indices, std::span<const float>(values).first(2)}), usage_error);
}

TEST_CASE("a sparse all-reduce equals the reference, and its messages the prediction, on any number of ranks") {
  for (const int ranks : {1, 2, 3, 4, 5, 6, 7, 8, 13}) {
    INFO(ranks << " ranks");
    CHECK_NOTHROW(comm::run_ranks(ranks, {.deadline = std::chrono::seconds(300)}, [&](comm::threads& world) { tests::check_sparse_laws(world); }));
  }
  comm::self alone;
  CHECK_NOTHROW(tests::check_sparse_laws(alone));
}

TEST_CASE("ranks whose sparse vectors differ in length are told so") {
  const auto body = [](comm::threads& world) {
    comm::sparse_stream<float> s(world.rank() == 0 ? 10 : 11);
    comm::sparse_all_reduce(world, s);
  };
  CHECK_THROWS_AS(comm::run_ranks(2, body), communication_error);
}

TEST_CASE("a sparse all-reduce allocates nothing after the first round") {
  const auto body = [](comm::threads& world) {
    constexpr std::size_t d = 20000;
    comm::sparse_stream<float> a(d), b(100);
    std::vector<tests::pair_of<float>> pairs;
    int step = 0;
    const auto round = [&] {
      ++step;
      a.clear(), b.clear();
      pairs.clear();
      for (std::uint32_t i = 0; i < d; i += std::uint32_t(2 + (step * 7 + world.rank()) % 40)) pairs.push_back({i, 1.0f});
      a.append(pairs);
      b.append(std::span<const tests::pair_of<float>>(pairs).first(1));
      auto first = comm::start_sparse_all_reduce(world, a);
      auto second = comm::start_sparse_all_reduce(world, b);
      second.wait(), first.wait();
    };
    pairs.reserve(d);
    for (int i = 0; i < 4; ++i) round();
    comm::barrier(world);
    if (world.rank() == 0) test::allocations = 0, test::counting = true;
    comm::barrier(world);
    for (int i = 0; i < 30; ++i) round();
    comm::barrier(world);
    if (world.rank() == 0) test::counting = false;
    comm::barrier(world);
    HOLDS(test::allocations == 0);
  };
  REQUIRE_NOTHROW(comm::run_ranks(3, body));
}
