// SPDX-License-Identifier: Apache-2.0
//
// What a consumer with a .cu file builds: one kernel of the library on a GPU, where there is one.
#include <cstddef>
#include <cstdio>
#include <vector>

#include <entrain/core/memory.hpp>
#include <entrain/device/nn/activation.cuh>
#include <entrain/engine/cuda.hpp>

int main() {
  namespace en = entrain;
  try {
    const en::engine::cuda_queue queue = en::engine::cuda{}.start();
    std::vector<float> values{-1, 0, 2, -3};
    const en::buffer<float, en::cuda_space> in(values.size()), out(values.size());
    queue.copy(static_cast<const float*>(values.data()), in.data(), values.size());
    forward(queue, en::nn::ops::activation{en::nn::ops::activation_kind::relu, values.size()}, static_cast<const float*>(in.data()), out.data());
    queue.copy(static_cast<const float*>(out.data()), values.data(), values.size());
    queue.wait();
    std::printf("relu: %g %g %g %g\n", double(values[0]), double(values[1]), double(values[2]), double(values[3]));
    return values == std::vector<float>{0, 0, 2, 0} ? 0 : 1;
  } catch (const en::engine::cuda_error& error) {
    std::printf("no GPU here: %s\n", error.what());
  }
}
