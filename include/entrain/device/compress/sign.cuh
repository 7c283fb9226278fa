// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <entrain/compress/sign.hpp>
#include <entrain/device/compress/packing.cuh>
#include <entrain/device/launch.cuh>
#include <entrain/device/optim/quad.cuh>
#include <entrain/device/reduce.cuh>

// compress::sign on the device: signs and the sum of magnitudes in one pass, a warp a chunk of 1024 values, 32 a thread; then one block adds
// the partial sums and writes the scale. Bytes a value in fp32: encode 4.1, decode_add 8.1. 16 M values: 16 and 32 us at 4.3 TB/s. The
// signs are the host's; of doubles whose sum overflows the scale is infinite (the host divides first).

namespace entrain::device {

inline constexpr std::size_t sign_chunk = compress::detail::bit_chunk, sign_tile = 16 * sign_chunk;  // values a warp at a time, and a block of 8 warps in all

template <class T>
__global__ void __launch_bounds__(256) sign_encode(const T* values, std::size_t n, std::uint8_t* bits, double* partial, bool wide) {
  double sum = 0;
  for (std::size_t c = threadIdx.x / 32; c < sign_tile / sign_chunk; c += 8) {
    const std::size_t first = blockIdx.x * sign_tile + c * sign_chunk;
    if (first >= n) break;
    const std::size_t count = n - first < sign_chunk ? n - first : sign_chunk;
    const T* v = values + first;
    pack_chunk<bit_packing<1>, sign_chunk>(
        count, bits + first / 8,
        [&](std::size_t i) {
          const quad<T> x = load_quad_once(v + i, 4, wide);
          std::uint32_t codes = 0;
          for (int j = 0; j < 4; ++j) {
            const T value = x.value[j];
            codes |= std::uint32_t(value < T(0)) << (8 * j);
            sum += std::abs(double(value));
          }
          return codes;
        },
        [&](std::size_t i) { return std::uint8_t(v[i] < T(0)); });
    if (count < sign_chunk)
      for (std::size_t i = threadIdx.x % 32; i < count; i += 32) sum += std::abs(double(v[i]));
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

template <class T>
__global__ void sign_scale(const double* partial, std::size_t count, std::size_t n, std::uint8_t* wire) {
  double sum = 0;
  for (std::size_t i = threadIdx.x; i < count; i += blockDim.x) sum += partial[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) write_bytes(wire, T(sum / double(n)));
}

template <class T>
__global__ void __launch_bounds__(256) sign_decode_add(const std::uint8_t* wire, T* values, std::size_t n, T scale, bool wide) {
  using word = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
  const T plus = scale * read_bytes<T>(wire), minus = -scale * read_bytes<T>(wire);
  const std::size_t first = (blockIdx.x * std::size_t(8) + threadIdx.x / 32) * sign_chunk;
  if (first >= n) return;
  T* v = values + first;
  unpack_chunk<bit_packing<1>, sign_chunk>(
      n - first < sign_chunk ? n - first : sign_chunk, wire + sizeof(T) + first / 8,
      [&](std::size_t i, std::uint32_t codes) {
        quad<T> x = load_quad(v + i, 4, wide);
        for (int j = 0; j < 4; ++j) x.value[j] += std::bit_cast<T>((codes >> (8 * j) & 1u) != 0 ? std::bit_cast<word>(minus) : std::bit_cast<word>(plus));
        store_quad(v + i, x, 4, wide);
      },
      [&](std::size_t i, std::uint8_t code) { v[i] += code ? minus : plus; });
}

}  // namespace entrain::device

namespace entrain::compress {

template <class T>
std::size_t scratch_bytes(const sign&, std::size_t n) { return sizeof(double) * ((n + device::sign_tile - 1) / device::sign_tile); }

template <class T>
void encode(const engine::cuda_queue& queue, const sign&, const context&, const device::compress_scratch& scratch, const T* values, std::size_t n, std::uint8_t* wire) {
  if (n == 0) return;
  double* const partial = reinterpret_cast<double*>(scratch.data());
  const unsigned blocks = device::ceil_div(n, device::sign_tile);
  device::launch(queue, device::sign_encode<T>, {blocks, 256}, values, n, wire + sizeof(T), partial, device::aligned(values));
  device::launch(queue, device::sign_scale<T>, {1, 1024}, static_cast<const double*>(partial), std::size_t(blocks), n, wire);
}

template <class T>
void decode_add(const engine::cuda_queue& queue, const sign&, const context&, const std::uint8_t* wire, T* values, std::size_t n, std::type_identity_t<T> scale) {
  device::launch(queue, device::sign_decode_add<T>, {device::ceil_div(n, 8 * device::sign_chunk), 256}, wire, values, n, scale, device::aligned(values));
}

}  // namespace entrain::compress
