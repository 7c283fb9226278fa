// SPDX-License-Identifier: Apache-2.0
//
// entrain-test: emulated
#include "../catch.hpp"

#include <numeric>
#include <stdexcept>
#include <vector>

#include <entrain/device/launch.cuh>
#include <entrain/device/reduce.cuh>
#include <entrain/device/vector.cuh>

using namespace entrain;

namespace {

__global__ void sum_blocks(const float* in, float* out, std::size_t n) {
  float mine = 0;
  for (std::size_t i = device::thread_index(); i < n; i += device::thread_count()) mine += in[i];
  mine = device::block_sum(mine);
  if (threadIdx.x == 0) out[blockIdx.x] = mine;
}

__global__ void reverse_in_shared(int* values) {
  int* memory = device::dynamic_shared<int>();
  memory[threadIdx.x] = values[threadIdx.x];
  __syncthreads();
  values[threadIdx.x] = memory[blockDim.x - 1 - threadIdx.x];
}

__global__ void lanes(int* up, unsigned* votes) {
  const int i = int(threadIdx.x);
  up[i] = __shfl_up_sync(device::all_lanes, i, 3);
  votes[i] = __ballot_sync(device::all_lanes, i % 2);
}

__global__ void half_waits() {
  if (threadIdx.x % 64 < 32) __shfl_xor_sync(device::all_lanes, 1, int(threadIdx.x) < 16 ? 1 : 2);
  else if (threadIdx.x % 2) __syncwarp();
  else __syncthreads();
}

}  // namespace

TEST_CASE("emulated blocks sum, share memory, exchange lanes", "[device]") {
  const auto queue = engine::cuda{}.start();
  std::vector<float> in(1000, 0.5f), out(3);
  device::launch(queue, sum_blocks, {3, 96}, in.data(), out.data(), in.size());
  CHECK(std::accumulate(out.begin(), out.end(), 0.0f) == 500.0f);

  std::vector<int> values(128);
  std::iota(values.begin(), values.end(), 0);
  device::launch(queue, reverse_in_shared, {1, 128, 128 * sizeof(int)}, values.data());
  CHECK(values.front() == 127);
  CHECK(values.back() == 0);

  std::vector<int> up(64);
  std::vector<unsigned> votes(64);
  device::launch(queue, lanes, {1, 64}, up.data(), votes.data());
  CHECK(up[40] == 37);
  CHECK(up[33] == 33);
  CHECK(votes[5] == 0xaaaaaaaau);
}

TEST_CASE("emulated barriers that do not match are found", "[device]") {
  const auto queue = engine::cuda{}.start();
  CHECK_THROWS_AS(device::launch(queue, half_waits, {1, 64}), std::logic_error);
}

TEST_CASE("a launch that no device could run is refused with its place", "[device]") {
  const auto queue = engine::cuda{}.start();
  CHECK_THROWS_WITH(device::launch(queue, half_waits, {1, 2048}), Catch::Matchers::Contains("cudaLaunchKernelEx") && Catch::Matchers::Contains("launch.cuh"));
  CHECK_THROWS_AS(engine::cuda{.device = 3}.start(), usage_error);
}
