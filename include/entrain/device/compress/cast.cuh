// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <entrain/compress/cast.hpp>
#include <entrain/compress/stochastic_cast.hpp>
#include <entrain/core/stochastic_rounding.hpp>
#include <entrain/device/compress/arithmetic.cuh>
#include <entrain/device/launch.cuh>
#include <entrain/device/optim/quad.cuh>

// compress::cast and compress::stochastic_cast on the device, four values a thread at a time. The wire is the host's bit for bit. Bytes a
// value, fp32 to 16 bits: encode 6, decode_add 10 (to 8 bits: 5 and 9). 16 M values: 23 and 39 us at 4.3 TB/s. No scratch.

namespace entrain::device {

struct rounding_to_nearest {
  template <class Wire>
  __device__ Wire round(float value, std::size_t) const { return Wire(value); }
};
struct rounding_by_chance {
  compress::detail::random_words random;
  template <class Wire>
  __device__ Wire round(float value, std::size_t i) const { return stochastically_rounded<Wire>(value, random[std::uint32_t(i)]); }
};

template <class Rounding, class T, class Wire>
__global__ void cast_encode(Rounding how, const T* values, std::size_t n, Wire* wire, bool wide) {
  for (std::size_t i = 4 * thread_index(); i < n; i += 4 * thread_count()) {
    const int here = n - i < 4 ? int(n - i) : 4;
    const quad<T> v = load_quad_once(values + i, here, wide);
    quad<Wire> out;
    for (int j = 0; j < 4; ++j) out.value[j] = how.template round<Wire>(float(v.value[j]), i + std::size_t(j));
    store_quad(wire + i, out, here, wide);
  }
}

template <class T, class Wire>
__global__ void cast_decode_add(const Wire* wire, T* values, std::size_t n, T scale, bool wide) {
  for (std::size_t i = 4 * thread_index(); i < n; i += 4 * thread_count()) {
    const int here = n - i < 4 ? int(n - i) : 4;
    const quad<Wire> in = load_quad_once(wire + i, here, wide);
    quad<T> v = load_quad(values + i, here, wide);
    for (int j = 0; j < 4; ++j) v.value[j] = multiply_then_add(scale, T(float(in.value[j])), v.value[j]);
    store_quad(values + i, v, here, wide);
  }
}

template <class Rounding, class T, class Wire>
void run_cast(const engine::cuda_queue& queue, const Rounding& how, const T* values, std::size_t n, Wire* wire) {
  launch(queue, cast_encode<Rounding, T, Wire>, {grid_for(queue, n, 1024), 256}, how, values, n, wire, aligned(values) && aligned(wire));
}
template <class T, class Wire>
void add_cast(const engine::cuda_queue& queue, const Wire* wire, T* values, std::size_t n, T scale) {
  launch(queue, cast_decode_add<T, Wire>, {grid_for(queue, n, 1024), 256}, wire, values, n, scale, aligned(values) && aligned(wire));
}

}  // namespace entrain::device

namespace entrain::compress {

template <class Wire, class T>
void encode(const engine::cuda_queue& queue, const cast<Wire>&, const context&, const T* values, std::size_t n, Wire* wire) {
  device::run_cast(queue, device::rounding_to_nearest{}, values, n, wire);
}
template <class Wire, class T>
void decode_add(const engine::cuda_queue& queue, const cast<Wire>&, const context&, const Wire* wire, T* values, std::size_t n, std::type_identity_t<T> scale) {
  device::add_cast(queue, wire, values, n, scale);
}
template <class Wire, class T>
void encode(const engine::cuda_queue& queue, const stochastic_cast<Wire>&, const context& where, const T* values, std::size_t n, Wire* wire) {
  device::run_cast(queue, device::rounding_by_chance{detail::random_words(where)}, values, n, wire);
}
template <class Wire, class T>
void decode_add(const engine::cuda_queue& queue, const stochastic_cast<Wire>&, const context&, const Wire* wire, T* values, std::size_t n, std::type_identity_t<T> scale) {
  device::add_cast(queue, wire, values, n, scale);
}

}  // namespace entrain::compress
