// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <entrain/parallel/pipeline.hpp>
#include <entrain/parallel/schedule.hpp>

// The code of docs/parallelism.md.

namespace {

//! [schedule]
// One micro-batch at a time through all stages: the least memory, and no overlap at all.
struct one_at_a_time {
  static constexpr std::string_view name = "one_at_a_time";
  static entrain::parallel::schedule::order order(std::size_t, std::size_t, std::size_t micro_batches) {
    using entrain::parallel::schedule::work;
    entrain::parallel::schedule::order out;
    for (std::size_t m = 0; m < micro_batches; ++m) {
      out.push_back({work::forward, m});
      out.push_back({work::backward, m});
    }
    return out;
  }
};
//! [schedule]

}  // namespace

TEST_CASE("the schedule of the documentation runs, and costs what it says", "[docs]") {
  using namespace entrain::parallel;
  //! [examine]
  const auto slow = schedule::examine(schedule::orders_of<one_at_a_time>(4, 8), 8);
  const auto fast = schedule::examine(schedule::orders_of<schedule::one_forward_one_backward>(4, 8), 8);
  CHECK(slow.peak[0] == 1);                     // micro-batches whose activations stage 0 keeps
  CHECK(fast.peak[0] == 4);
  CHECK(slow.bubble == Approx(0.75));           // idle share of four stages, forward 1, backward 2
  CHECK(fast.bubble == Approx(3.0 / (3 + 8)));  // (p - 1) / (p - 1 + micro-batches)
  //! [examine]
  CHECK(pipeline<one_at_a_time>{.micro_batches = 8}.describe() == "pipeline<one_at_a_time>{micro_batches 8}");
}
