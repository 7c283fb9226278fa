// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <algorithm>
#include <set>
#include <vector>

#include <entrain/device/launch.cuh>
#include <entrain/device/matrix_fragment.cuh>

#include "device_test.hpp"

using namespace entrain;

namespace {

constexpr int width = 32;

template <class T>
__device__ void copy_tile(device::matrix_tile<T, width> to, const T* from, int rows) {
  for (int i = int(threadIdx.x); i < rows * width / 8; i += int(blockDim.x)) device::copy_16_bytes(to.at(i / 4, i % 4), from + 8 * i, true);
}

// One warp: c[16, 8] = a[16, 32] * b, where b is [8, 32] read as its transpose, or (transposed) [32, 8 of 32].
template <class T>
__global__ void product(const T* a, const T* b, float* c, bool transposed) {
  const int lane = int(threadIdx.x);
  const device::matrix_tile<T, width> of_a{device::dynamic_shared<T>()}, of_b = of_a.from_row(16);
  copy_tile(of_a, a, 16);
  copy_tile(of_b, b, transposed ? 32 : 8);
  device::wait_for_copies();
  __syncthreads();
  float sums[4] = {};
  std::uint32_t left[4], right[4];  // right: both steps of the inner dimension at once
  if (transposed) device::load_matrices_transposed(of_b.at(lane, 0), right);
  else device::load_matrices(of_b.at(lane % 8, lane / 8), right);
  for (int k = 0; k < 2; ++k) {
    device::load_matrices(of_a.at(lane % 16, 2 * k + lane / 16), left);
    device::multiply_add<T>(sums, left, right[2 * k], right[2 * k + 1]);
  }
  for (int i = 0; i < 4; ++i) c[(lane / 4 + 8 * (i / 2)) * 8 + 2 * (lane % 4) + i % 2] = sums[i];
}

// The first product's sums, packed, times the transposed tile: d[16, 8] = round(a b) * [16, 8 of 32].
template <class T>
__global__ void chained(const T* a, float* d) {
  const int lane = int(threadIdx.x);
  const device::matrix_tile<T, width> tile{device::dynamic_shared<T>()};
  copy_tile(tile, a, 16);
  device::wait_for_copies();
  __syncthreads();
  float first[2][4] = {}, second[4] = {};
  std::uint32_t left[4], right[4];
  device::load_matrices(tile.at(lane % 16, lane / 16), left);
  device::load_matrices(tile.at(lane % 8 + lane / 16 * 8, lane / 8 % 2), right);
  device::multiply_add<T>(first[0], left, right[0], right[1]);
  device::multiply_add<T>(first[1], left, right[2], right[3]);
  for (int i = 0; i < 4; ++i) left[i] = device::pack_two<T>(first[i / 2][i % 2 * 2], first[i / 2][i % 2 * 2 + 1]);
  device::load_matrices_transposed(tile.at(lane % 16, 0), right);
  device::multiply_add<T>(second, left, right[0], right[1]);
  for (int i = 0; i < 4; ++i) d[(lane / 4 + 8 * (i / 2)) * 8 + 2 * (lane % 4) + i % 2] = second[i];
}

template <int Width>
__global__ void places(int* offsets) {
  const device::matrix_tile<bfloat16, Width> tile{device::dynamic_shared<bfloat16>()};
  const int chunk = int(threadIdx.x), row = int(blockIdx.x);
  offsets[row * (Width / 8) + chunk] = int((tile.at(row, chunk) - tile.data) / 8);
}

template <class T>
void check_products() {
  const auto a = test::normal_values<T>(16 * width, 1), b = test::normal_values<T>(32 * width, 2);
  const test::on_device<T> of_a(a), of_b(b);
  const auto queue = engine::cuda{}.start();
  const std::size_t shared = 48 * width * sizeof(T);
  for (const bool transposed : {false, true}) {
    const auto c = test::on_device<float>::poisoned(128);
    device::launch(queue, product<T>, {1, 32, shared}, of_a.data(), of_b.data(), c.data(), transposed);
    std::vector<float> expected(128);
    for (std::size_t i = 0; i < 128; ++i)
      for (std::size_t k = 0; k < width; ++k) expected[i] += float(a[i / 8 * width + k]) * float(transposed ? b[k * width + i % 8] : b[i % 8 * width + k]);
    CHECK(test::distance(c.host(), expected) < 1e-6);
  }
  const auto d = test::on_device<float>::poisoned(128);
  device::launch(queue, chained<T>, {1, 32, shared}, of_a.data(), d.data());
  std::vector<float> expected(128);
  for (std::size_t i = 0; i < 16; ++i)
    for (std::size_t j = 0; j < 16; ++j) {
      float dot = 0;
      for (std::size_t k = 0; k < 16; ++k) dot += float(a[i * width + k]) * float(a[j * width + k]);
      for (std::size_t c = 0; c < 8; ++c) expected[i * 8 + c] += float(T(dot)) * float(a[j * width + c]);
    }
  CHECK(test::distance(d.host(), expected) < 1e-3);  // a sum between two 16-bit numbers may round either way
}

template <int Width>
void check_places() {
  constexpr std::size_t rows = 32, chunks = Width / 8;
  const auto queue = engine::cuda{}.start();
  const auto device_offsets = test::on_device<int>::zeros(rows * chunks);
  device::launch(queue, places<Width>, {rows, chunks, rows * Width * sizeof(bfloat16)}, device_offsets.data());
  queue.wait();
  const auto offset = device_offsets.host();
  CHECK(std::set<int>(offset.begin(), offset.end()).size() == rows * chunks);
  CHECK(*std::max_element(offset.begin(), offset.end()) == int(rows * chunks) - 1);
  for (std::size_t row = 0; row < rows; row += 8)
    for (std::size_t chunk = 0; chunk < chunks; ++chunk) {
      std::set<int> banks;  // of 16 bytes
      for (std::size_t r = row; r < row + 8; ++r) banks.insert(offset[r * chunks + chunk] % 8);
      CHECK(banks.size() == 8);
    }
}

}  // namespace

TEST_CASE("products of fragments from shared memory", "[device]") {
  check_products<bfloat16>();
  check_products<float16>();
}

TEST_CASE("a tile's rows never meet in a bank when matrices are loaded", "[device]") {
  check_places<32>();
  check_places<64>();
  check_places<96>();
  check_places<128>();
}
