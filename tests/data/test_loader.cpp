// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <thread>

#include "catch.hpp"
#include "counted_allocations.hpp"
#include <entrain/data/loader.hpp>
#include <entrain/data/memory.hpp>
#include <entrain/data/synthetic.hpp>
#include <entrain/testing/dataset_laws.hpp>

namespace data = entrain::data;

namespace {

// Sample i is the number i.
data::labelled_samples numbers(std::size_t n) {
  std::vector<float> x(n);
  std::vector<std::int32_t> y(n);
  for (std::size_t i = 0; i < n; ++i) x[i] = float(i), y[i] = std::int32_t(i);
  return {x, y};
}

struct failing {
  using batch_type = entrain::labelled_batch;
  std::uint64_t bad = 0;
  std::uint64_t size() const { return 100; }
  void fill(std::span<const std::uint64_t> indices, batch_type& batch) const {
    batch.resize(indices.size(), 1);
    for (auto i : indices)
      if (i == bad) throw entrain::file_error("disk:17", "gone");
  }
};

}  // namespace

TEST_CASE("with and without a thread, on any number of ranks, the samples are the same", "[data][loader]") {
  const auto d = numbers(53);
  const data::sample_order order{53, 9};
  std::vector<std::uint64_t> expected;
  for (bool prefetch : {false, true})
    for (int ranks : {1, 2, 3, 5})
      for (std::uint64_t first : {0, 3, 1000}) {
        std::vector<std::vector<std::int32_t>> steps(20);
        for (int rank = 0; rank < ranks; ++rank) {
          data::loader l{d, {.seed = 9, .batch = 8, .rank = rank, .ranks = ranks, .first_step = first, .prefetch = prefetch}};
          CHECK(l.prefetching() == prefetch);
          for (std::uint64_t k = 0; k < steps.size(); ++k) {
            const auto& batch = l.next();
            REQUIRE(l.step() == first + k);
            REQUIRE(l.epoch() == (first + k) / 7);
            REQUIRE(l.samples_before() == steps[k].size());
            REQUIRE(l.indices().size() == batch.samples);
            steps[k].insert(steps[k].end(), batch.targets.begin(), batch.targets.end());
            REQUIRE(l.global_count() == ((first + k) % 7 == 6 ? 5 : 8));
          }
        }
        for (std::uint64_t k = 0; k < steps.size(); ++k) {
          data::step_indices(order, first + k, 8, 0, 1, expected);
          REQUIRE(std::vector<std::uint64_t>(steps[k].begin(), steps[k].end()) == expected);
        }
      }
}

TEST_CASE("one epoch without shuffling sees every sample once", "[data][loader]") {
  const auto d = numbers(10);
  data::loader l{d, {.batch = 4, .shuffle = false}};
  std::vector<std::int32_t> seen;
  for (std::uint64_t s = 0; s < l.steps_in_epoch(); ++s) {
    const auto& b = l.next();
    seen.insert(seen.end(), b.targets.begin(), b.targets.end());
  }
  CHECK(seen == std::vector<std::int32_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
}

TEST_CASE("a rank may run out of samples", "[data][loader]") {
  const auto d = numbers(3);
  for (bool prefetch : {false, true}) {
    data::loader l{d, {.batch = 2, .rank = 1, .ranks = 2, .prefetch = prefetch}};
    CHECK(l.next().samples == 1);
    CHECK(l.next().samples == 0);
    CHECK(l.global_count() == 1);
    CHECK(l.next().samples == 1);
  }
}

TEST_CASE("a batch larger than the data is one epoch a step", "[data][loader]") {
  const auto d = numbers(3);
  data::loader l{d, {.batch = ~std::uint64_t{0}}};
  for (std::uint64_t e = 0; e < 4; ++e) {
    CHECK(l.next().samples == 3);
    CHECK(l.epoch() == e);
  }
}

TEST_CASE("errors arrive at their step with step and samples", "[data][loader]") {
  for (bool prefetch : {false, true}) {
    const failing d{data::sample_order{100, 4}.at(0, 25)};  // the 26th sample: step 2 of batches of 10
    data::loader l{d, {.seed = 4, .batch = 10, .prefetch = prefetch}};
    l.next();
    l.next();
    for (int again = 0; again < 2; ++again) {
      try {
        l.next();
        FAIL("no error");
      } catch (const entrain::error& e) {
        const std::string what = e.what();
        CHECK(what.find("step 2") != what.npos);
        CHECK(what.find(" " + std::to_string(d.bad)) != what.npos);
        CHECK(what.find("disk:17: gone") != what.npos);
        CHECK_THROWS_AS(std::rethrow_if_nested(e), entrain::file_error);
      }
    }
  }
}

TEST_CASE("loaders may be dropped at any moment", "[data][loader]") {
  const auto d = numbers(1000);
  for (int i = 0; i < 200; ++i) {
    data::loader l{d, {.batch = 16}};
    for (int k = 0; k < i % 5; ++k) l.next();
  }
}

TEST_CASE("many steps through the ring", "[data][loader]") {
  const auto d = numbers(97);
  const data::sample_order order{97, 1};
  data::loader l{d, {.seed = 1, .batch = 5}};
  std::vector<std::uint64_t> expected;
  for (std::uint64_t s = 0; s < 20000; ++s) {
    const auto& b = l.next();
    data::step_indices(order, s, 5, 0, 1, expected);
    REQUIRE(b.samples == expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i) REQUIRE(std::uint64_t(b.targets[i]) == expected[i]);
  }
}

TEST_CASE("nothing is allocated in steady state", "[data][loader]") {
  if (!ENTRAIN_TEST_COUNTS_ALLOCATIONS) return;
  entrain::test::allocations = 0, entrain::test::counting = true;
  numbers(1);
  entrain::test::counting = false;
  REQUIRE(entrain::test::allocations > 0);  // the counter counts
  const auto d = numbers(50);
  for (bool prefetch : {false, true}) {
    data::loader l{d, {.batch = 8, .prefetch = prefetch}};
    for (int s = 0; s < 6; ++s) l.next();
    if (prefetch) std::this_thread::sleep_for(std::chrono::milliseconds(20));
    entrain::test::allocations = 0, entrain::test::counting = true;
    for (int s = 0; s < 200; ++s) l.next();
    entrain::test::counting = false;
    CHECK(entrain::test::allocations == 0);
  }
}

TEST_CASE("the time spent waiting for input is measured", "[data][loader]") {
  struct slow {
    using batch_type = entrain::labelled_batch;
    std::uint64_t size() const { return 10; }
    void fill(std::span<const std::uint64_t> indices, batch_type& batch) const {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      batch.resize(indices.size(), 1);
    }
  } d;
  data::loader l{d, {.batch = 2, .prefetch = false}};
  for (int s = 0; s < 3; ++s) l.next();
  CHECK(l.seconds_waited() >= 0.005);
  CHECK(l.total_seconds_waited() >= 0.015);
}

TEST_CASE("settings that cannot work are refused", "[data][loader]") {
  const auto d = numbers(5), none = numbers(0);
  using L = data::loader<data::labelled_samples>;
  CHECK_THROWS_AS(L(d, {.batch = 0}), entrain::usage_error);
  CHECK_THROWS_AS(L(d, {.batch = 1, .rank = 2, .ranks = 2}), entrain::usage_error);
  CHECK_THROWS_AS(L(d, {.batch = 1, .rank = -1, .ranks = 2}), entrain::usage_error);
  CHECK_THROWS_AS(L(none, {.batch = 1}), entrain::usage_error);
}

TEST_CASE("samples in memory", "[data][memory]") {
  const data::labelled_samples d({0, 1, 10, 11, 20, 21}, {2, 0, 1});
  CHECK(d.features() == 2);
  CHECK(d.classes() == 3);
  entrain::testing::check_dataset(d);
  entrain::testing::check_dataset(d.subset(1, 2));
  entrain::testing::check_dataset(d.subset(3, 0));
  entrain::labelled_batch b;
  d.subset(1, 2).fill(std::vector<std::uint64_t>{1, 0}, b);
  CHECK(b.inputs == std::vector<float>{20, 21, 10, 11});
  CHECK(b.targets == std::vector<std::int32_t>{1, 0});
  CHECK_THROWS_AS(d.subset(1, 2).fill(std::vector<std::uint64_t>{2}, b), entrain::usage_error);
  CHECK_THROWS_AS(d.subset(2, 2), entrain::usage_error);
  CHECK_THROWS_AS(d.subset(2, ~std::uint64_t{0}), entrain::usage_error);
  CHECK_THROWS_AS(data::labelled_samples({1, 2, 3}, {0, 1}), entrain::usage_error);
  CHECK_THROWS_AS(data::labelled_samples({1, 2}, {0, -1}), entrain::usage_error);

  const data::regression_samples r({1, 2, 3, 4}, {5, 6, 7, 8, 9, 10}, 2);
  CHECK(r.features() == 2);
  CHECK(r.outputs() == 3);
  entrain::testing::check_dataset(r);
  CHECK_THROWS_AS(data::regression_samples({1, 2, 3}, {1, 2}, 2), entrain::usage_error);
}

TEST_CASE("made-up tasks obey the laws", "[data][synthetic]") {
  entrain::testing::check_dataset(data::two_moons(100));
  entrain::testing::check_dataset(data::linear_teacher(50, 3, 0.1f));
  CHECK(data::two_moons(100).classes() == 2);
}

TEST_CASE("the laws catch datasets that break them", "[data][laws]") {
  struct base {
    using batch_type = entrain::labelled_batch;
    std::uint64_t size() const { return 20; }
    static void plain(std::span<const std::uint64_t> indices, batch_type& b) {
      b.resize(indices.size(), 1);
      for (std::size_t i = 0; i < indices.size(); ++i) b.inputs[i] = float(indices[i]), b.targets[i] = 0;
    }
  };
  struct sorted : base {
    void fill(std::span<const std::uint64_t> indices, batch_type& b) const {
      std::vector<std::uint64_t> copy(indices.begin(), indices.end());
      std::sort(copy.begin(), copy.end());
      plain(copy, b);
    }
  };
  struct counting : base {
    mutable int calls = 0;
    void fill(std::span<const std::uint64_t> indices, batch_type& b) const {
      plain(indices, b);
      if (!b.inputs.empty()) b.inputs[0] += float(++calls);
    }
  };
  struct keeps : base {
    void fill(std::span<const std::uint64_t> indices, batch_type& b) const {
      if (!indices.empty()) plain(indices, b);
    }
  };
  struct good : base {
    void fill(std::span<const std::uint64_t> indices, batch_type& b) const { plain(indices, b); }
  };
  CHECK_NOTHROW(entrain::testing::check_dataset(good{}));
  CHECK_THROWS_AS(entrain::testing::check_dataset(sorted{}), entrain::error);
  CHECK_THROWS_AS(entrain::testing::check_dataset(counting{}), entrain::error);
  CHECK_THROWS_AS(entrain::testing::check_dataset(keeps{}), entrain::error);
}
