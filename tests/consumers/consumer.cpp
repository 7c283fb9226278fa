// SPDX-License-Identifier: Apache-2.0
//
// What every consumer builds: a first program. Two ranks (threads) train a small network; it must learn.
#include <cstdio>

#include <entrain/comm/threads.hpp>
#include <entrain/data/synthetic.hpp>
#include <entrain/nn/mlp.hpp>
#include <entrain/optim/adamw.hpp>
#include <entrain/parallel/sharded.hpp>
#include <entrain/trainer/trainer.hpp>

int main() {
  namespace en = entrain;
  double accuracy = 0;
  en::comm::run_ranks(2, [&](en::comm::threads& world) {
    const auto moons = en::data::two_moons(512, 0.1f, 1);
    en::trainer run{en::nn::mlp{.inputs = 2, .hidden = {16}, .outputs = 2}, en::optim::adamw{.learning_rate = 2e-2}, world, en::parallel::sharded{}};
    run.fit(moons, {.steps = 200, .batch = 32});
    const auto result = run.evaluate(moons);
    if (world.rank() == 0) accuracy = result.accuracy();
  });
  std::printf("entrain %s: accuracy %.3f\n", ENTRAIN_VERSION_STRING, accuracy);
  return accuracy > 0.95 ? 0 : 1;
}
