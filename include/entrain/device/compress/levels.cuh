// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

#include <entrain/compress/detail/levels.hpp>
#include <entrain/device/compress/packing.cuh>
#include <entrain/device/launch.cuh>
#include <entrain/device/optim/quad.cuh>
#include <entrain/device/reduce.cuh>

// Random rounding to levels (compress/detail/levels.hpp) and its scales on the device: what qsgd and terngrad share. Values are cut into
// buckets of d, buckets into chunks; a warp packs a chunk. Each bucket's wire: the scale, then its chunks.

namespace entrain::device {

// Sum of squares and largest magnitude.
struct magnitudes { double squares, largest; };

template <class T>
__device__ inline magnitudes magnitudes_of(const T* values, std::size_t count, bool wide) {
  double squares = 0;
  T largest = 0;
  for (std::size_t i = 4 * threadIdx.x; i < count; i += 4 * blockDim.x) {
    const int here = count - i < 4 ? int(count - i) : 4;
    const quad<T> v = load_quad(values + i, here, wide);
    for (int j = 0; j < 4; ++j) {
      const T size = std::abs(v.value[j]);
      squares += double(size) * double(size), largest = largest > size ? largest : size;
    }
  }
  return {block_sum(squares), block_reduce<larger>(double(largest), 0.0)};
}

inline constexpr std::size_t measured_piece = 16384;  // values a block

template <class T>
__global__ void __launch_bounds__(256) measure_pieces(const T* values, std::size_t n, std::size_t d, std::size_t pieces, magnitudes* partial, bool wide) {
  const std::size_t bucket = blockIdx.x / pieces, first = bucket * d + blockIdx.x % pieces * measured_piece;
  const std::size_t end = (bucket + 1) * d < n ? (bucket + 1) * d : n, here = first < end ? end - first : 0;
  const magnitudes m = magnitudes_of(values + first, here < measured_piece ? here : measured_piece, wide);
  if (threadIdx.x == 0) partial[blockIdx.x] = m;
}

// A block a bucket: its scale, how(values in it, magnitudes), goes to its place in the wire.
template <class T, class How>
__global__ void settle_scales(How how, const magnitudes* partial, std::size_t n, std::size_t d, std::size_t pieces, std::size_t bucket_bytes, std::uint8_t* wire) {
  const std::size_t bucket = blockIdx.x;
  magnitudes m{0, 0};
  for (std::size_t i = threadIdx.x; i < pieces; i += blockDim.x) {
    const magnitudes p = partial[bucket * pieces + i];
    m.squares += p.squares, m.largest = m.largest > p.largest ? m.largest : p.largest;
  }
  m.squares = block_sum(m.squares), m.largest = block_reduce<larger>(m.largest, 0.0);
  const std::size_t count = n - bucket * d < d ? n - bucket * d : d;
  if (threadIdx.x == 0) write_bytes(wire + bucket * bucket_bytes, how.template scale<T>(count, m));
}

// As detail::round_to_levels: the code of one value.
template <class T>
struct level_rounder {
  T boost, factor, middle, most;
  compress::detail::random_words words;

  __device__ level_rounder(T scale, int s, const compress::detail::random_words& random) : words(random) {
    constexpr T unit = T(1 << 23), enlarge = T(1ull << 45) * T(1ull << 45);
    const bool tiny = scale < compress::detail::tiny_scale<T>;
    boost = tiny ? enlarge : T(1);
    factor = !tiny ? unit * T(s) / scale : scale > 0 ? unit * T(s) / (scale * enlarge) : T(0);
    middle = unit * T(s), most = 2 * unit * T(s);
  }
  __device__ std::uint32_t operator()(T value, std::size_t i) const {
    T a = multiply_then_add(value * boost, factor, middle);
    a = a > T(0) ? a : T(0);
    a = a < most ? a : most;
    return (std::uint32_t(std::int32_t(a)) + (words[std::uint32_t(i)] >> 9)) >> 23;
  }
};

template <class Packing, std::size_t Chunk, class T>
__device__ inline void encode_chunk(const level_rounder<T>& round, const T* v, std::size_t number, std::size_t count, std::uint8_t* out, bool wide) {
  pack_chunk<Packing, Chunk>(
      count, out,
      [&](std::size_t i) {
        const quad<T> x = load_quad(v + i, 4, wide);
        std::uint32_t codes = 0;
        for (int j = 0; j < 4; ++j) codes |= round(x.value[j], number + i + std::size_t(j)) << (8 * j);
        return codes;
      },
      [&](std::size_t i) { return std::uint8_t(round(v[i], number + i)); });
}

struct bucket_shape {
  std::size_t n, d, chunks, bytes;  // values, values a bucket, chunks a bucket, bytes of a whole bucket
};

template <class Packing, std::size_t Chunk, class T>
__global__ void __launch_bounds__(256) encode_levels(bucket_shape b, int levels, compress::detail::random_words random, const T* values, std::uint8_t* wire, bool wide) {
  const std::size_t chunk = blockIdx.x * std::size_t(8) + threadIdx.x / 32, bucket = chunk / b.chunks, within = chunk % b.chunks * Chunk, first = bucket * b.d + within;
  const std::size_t end = (bucket + 1) * b.d < b.n ? (bucket + 1) * b.d : b.n;
  if (first >= end) return;
  std::uint8_t* out = wire + bucket * b.bytes;
  const level_rounder<T> round(read_bytes<T>(out), levels, random);
  encode_chunk<Packing, Chunk>(round, values + first, first, end - first < Chunk ? end - first : Chunk, out + sizeof(T) + Packing::bytes(within), wide);
}

// As detail::add_levels.
template <class Packing, std::size_t Chunk, class T>
__global__ void __launch_bounds__(256) decode_levels(bucket_shape b, int levels, const std::uint8_t* wire, T* values, T factor, bool wide) {
  const std::size_t chunk = blockIdx.x * std::size_t(8) + threadIdx.x / 32, bucket = chunk / b.chunks, within = chunk % b.chunks * Chunk, first = bucket * b.d + within;
  const std::size_t end = (bucket + 1) * b.d < b.n ? (bucket + 1) * b.d : b.n;
  if (first >= end) return;
  const std::uint8_t* in = wire + bucket * b.bytes;
  const T scale = read_bytes<T>(in), unit = factor * (scale / T(levels));
  const bool tiny = scale < compress::detail::tiny_scale<T>;
  T* v = values + first;
  const auto add = [&](T x, std::uint32_t code) {
    const T level = T(int(code) - levels);
    return tiny ? multiply_then_add(factor, scale * level / T(levels), x) : multiply_then_add(unit, level, x);
  };
  unpack_chunk<Packing, Chunk>(
      end - first < Chunk ? end - first : Chunk, in + sizeof(T) + Packing::bytes(within),
      [&](std::size_t i, std::uint32_t codes) {
        quad<T> x = load_quad(v + i, 4, wide);
        for (int j = 0; j < 4; ++j) x.value[j] = add(x.value[j], codes >> (8 * j) & 0xffu);
        store_quad(v + i, x, 4, wide);
      },
      [&](std::size_t i, std::uint8_t code) { v[i] = add(v[i], code); });
}

template <std::size_t Chunk, class Packing>
bucket_shape shape_of(std::size_t n, std::size_t d, std::size_t scale_bytes) {
  return {n, d, (d + Chunk - 1) / Chunk, scale_bytes + Packing::bytes(d)};
}
inline unsigned warps_for(const bucket_shape& b) { return ceil_div(((b.n + b.d - 1) / b.d) * b.chunks, 8); }
inline bool wide_buckets(const bucket_shape& b, const void* values) { return aligned(values) && (b.d % 4 == 0 || b.d >= b.n); }
inline std::size_t pieces_of(std::size_t d) { return (d + measured_piece - 1) / measured_piece; }

// The scales of all buckets into the wire. partial: pieces_of(d) for each bucket.
template <class T, class How>
void write_scales(const engine::cuda_queue& queue, const How& how, const bucket_shape& b, const T* values, magnitudes* partial, std::uint8_t* wire) {
  const std::size_t pieces = pieces_of(b.d), buckets = (b.n + b.d - 1) / b.d;
  launch(queue, measure_pieces<T>, {unsigned(buckets * pieces), 256}, values, b.n, b.d, pieces, partial, wide_buckets(b, values));
  launch(queue, settle_scales<T, How>, {unsigned(buckets), 128}, how, static_cast<const magnitudes*>(partial), b.n, b.d, pieces, b.bytes, wire);
}

}  // namespace entrain::device
