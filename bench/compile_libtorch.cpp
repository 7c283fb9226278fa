// SPDX-License-Identifier: Apache-2.0
//
// The peer of bench/compile.sh: a first program with libtorch, one linear layer trained for ten steps. It is smaller than the
// quickstart that it is held against.
#include <torch/torch.h>

#include <cstdio>

int main() {
  torch::nn::Linear model(8, 1);
  torch::optim::SGD optimizer(model->parameters(), 0.1);
  const auto inputs = torch::randn({64, 8}), targets = inputs.sum(1, true);
  for (int step = 0; step < 10; ++step) {
    optimizer.zero_grad();
    const auto loss = torch::mse_loss(model->forward(inputs), targets);
    loss.backward();
    optimizer.step();
    std::printf("%d %g\n", step, loss.item<double>());
  }
}
