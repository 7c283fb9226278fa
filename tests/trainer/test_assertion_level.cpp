// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#undef ENTRAIN_ASSERT_LEVEL
#define ENTRAIN_ASSERT_LEVEL 3

#include <entrain/comm/threads.hpp>
#include <entrain/optim/sgd.hpp>
#include <entrain/parallel/sharded.hpp>
#include <entrain/trainer/trainer.hpp>

#include "models.hpp"

using namespace entrain;

namespace {

// An optimizer with a bug that no collective can see: on rank 2 it drifts, from step 3 on.
struct drifting : optim::sgd {
  int rank = 0;
  template <class T>
  void update(const optim::update_context& c, T* x, const T* gradient, std::array<T*, 1> state, std::size_t n) const {
    optim::sgd::update(c, x, gradient, state, n);
    if (rank == 2 && c.step == 3) x[0] += T(1e-6);
  }
};

template <class Parallelism>
void train(int drifting_rank, const Parallelism& form) {
  comm::run_ranks(3, [&](comm::threads& world) {
    drifting optimizer;
    optimizer.rank = world.rank() == drifting_rank ? 2 : 0;
    trainer run{test::line<float>{}, optimizer, world, form};
    run.fit(test::plane{}, {.steps = 6, .batch = 8});
  });
}

}  // namespace

TEST_CASE("at assertion level 3 a rank whose parameters drift is named after the step", "[trainer]") {
  CHECK_NOTHROW(train(-1, parallel::data{}));
  CHECK_NOTHROW(train(-1, parallel::sharded{}));
  CHECK_THROWS_WITH(train(2, parallel::data{}), Catch::Matchers::Contains("ranks disagree about the parameters after a step") && Catch::Matchers::Contains("rank(s) 2 unlike rank 0"));
}
