// SPDX-License-Identifier: Apache-2.0
//
// A convolutional network on MNIST, over all MPI ranks: --data FOLDER holds t10k-images-idx3-ubyte(.gz) and
// t10k-labels-idx1-ubyte(.gz); it trains on the first 8,000 images and is tested on the last 2,000. Without the data it
// reads digits that it draws itself.

#include <cstdio>
#include <filesystem>

#include <entrain/entrain.hpp>

#include "arguments.hpp"
#include "glyphs.hpp"

namespace en = entrain;

template <class Train, class Test>
void learn(en::comm::mpi& world, const Train& train, const Test& test, unsigned long steps) {
  en::trainer run{en::nn::cnn{},
                  en::optim::scheduled{en::optim::adamw{.learning_rate = 1e-3}, en::optim::schedule::cosine{steps, 0.05}},
                  world,
                  en::monitor::progress{},
                  en::monitor::html_report{.path = "mnist_cnn.html", .title = "mnist_cnn"}};
  run.fit(train, {.steps = steps, .batch = 64});
  const auto result = run.evaluate(test);
  if (world.rank() == 0) std::printf("accuracy %.2f %% on %lld images, loss %.4f\n", 100 * result.accuracy(), static_cast<long long>(result.count), result.mean());
}

int main(int argc, char** argv) {
  en::comm::mpi world{argc, argv};
  const std::filesystem::path folder = argument(argc, argv, "--data", "");
  const unsigned long steps = steps_or(argc, argv, 1250);
  for (const char* suffix : {"", ".gz"}) {
    const auto images = folder / (std::string("t10k-images-idx3-ubyte") + suffix), labels = folder / (std::string("t10k-labels-idx1-ubyte") + suffix);
    if (folder.empty() || !std::filesystem::exists(images)) continue;
    const en::data::idx digits{images, labels};
    learn(world, digits.subset(0, 8000), digits.subset(8000, 2000), steps);
    return 0;
  }
  if (world.rank() == 0) std::printf("no --data FOLDER with MNIST: reading drawn digits\n");
  learn(world, glyphs{.samples = 8000}, glyphs{.samples = 500, .seed = 2}, steps);
}
