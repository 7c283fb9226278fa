// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <entrain/core/layout.hpp>
#include <entrain/core/philox.hpp>
#include <entrain/core/stochastic_rounding.hpp>
#include <entrain/device/optim/add.cuh>
#include <entrain/device/optim/gradient_norm.cuh>
#include <entrain/device/optim/statistics.cuh>
#include <entrain/device/optim/update.cuh>
#include <entrain/device/optim/update_table.cuh>

// What the replica of a device's trainer (parallel/device_replica.hpp) asks of its engine, under the names that it looks for.

namespace entrain::device {

// As update() does it.
template <class Kept, class T>
__global__ void round_by_chance(random_stream random, const Kept* kept, T* computed, std::size_t begin, std::size_t end) {
  for (std::size_t i = begin + thread_index(); i < end; i += thread_count()) computed[i - begin] = stochastically_rounded<T>(float(kept[i - begin]), random.bits(i));
}

}  // namespace entrain::device

namespace entrain::engine {

inline device::update_table make_update_table(const cuda_queue&, const parameter_layout& layout, std::size_t begin, std::size_t end) { return device::update_table(layout, begin, end); }

// The next three leave a number in the device's memory, and nobody waits: the sum of squares of a table's gradient,
template <class T>
void put_squares(const cuda_queue& queue, const device::update_table& table, const T* gradient, double* to) {
  device::gradient_squares(queue, table, gradient, to);
}
// the sum of n numbers,
inline void put_sum(const cuda_queue& queue, const double* from, std::size_t n, double* to) { device::launch(queue, device::sum_partials<0>, {1, 1024}, from, n, to); }
// and the factor that means and clips a gradient of sums over `count` samples, whose squares add up to *squares.
inline void put_clip_scale(const cuda_queue& queue, const double* squares, std::int64_t count, double clip_norm, double* to) {
  device::gradient_scale(queue, {.factor = 1.0 / double(count), .clip_norm = clip_norm, .squares = squares}, to);
}

// Whether there are kernels for an optimizer, as a type: parallel/data.hpp gives the update of others to the host.
template <class Optimizer>
struct has_kernels : std::bool_constant<requires(const Optimizer& o, const optim::update_context& c, void (*use)(int)) { device::with_rule<float>(o, c, use); }> {};
template <class Optimizer>
has_kernels<Optimizer> has_update(const cuda_queue&, const Optimizer&);

template <class Optimizer, class Arrays>
void apply_update(const cuda_queue& queue, const Optimizer& optimizer, const optim::update_context& context, const device::update_table& table, const Arrays& arrays) {
  device::update(queue, optimizer, context, table, arrays.kept, arrays.computed, arrays.gradient, arrays.state,
                 {.gradient_scale = arrays.gradient_scale, .idle = arrays.idle, .stochastic_rounding = arrays.stochastic_rounding, .seed = arrays.seed});
}

// For parallel/device_statistics.hpp. computed: running in T; running itself if T is Kept.
template <class Kept, class T, class G>
void follow_statistics(const cuda_queue& queue, std::size_t n, double momentum, double samples, const G* sums, Kept* running, T* computed, bool forgiving) {
  device::launch(queue, device::follow_statistics<Kept, T, G>, {device::grid_for(queue, n, 256), 256}, n, momentum, samples, sums, running, computed, forgiving);
}

// What the update of that seed and step rounded by chance, rounded again from where it left them: arena[begin, end), where the arrays begin.
template <class Kept, class T>
void round_parameters_again(const cuda_queue& queue, const Kept* kept, T* computed, std::size_t begin, std::size_t end, std::uint64_t seed, std::uint64_t step) {
  if (begin < end)
    device::launch(queue, device::round_by_chance<Kept, T>, {device::grid_for(queue, end - begin, 256), 256}, random_stream(seed, purpose::rounding, 0, step), kept, computed, begin, end);
}

}  // namespace entrain::engine
