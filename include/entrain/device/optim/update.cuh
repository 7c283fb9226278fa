// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <type_traits>

#include <entrain/core/error.hpp>
#include <entrain/core/philox.hpp>
#include <entrain/core/stochastic_rounding.hpp>
#include <entrain/device/launch.cuh>
#include <entrain/device/optim/gradient_norm.cuh>
#include <entrain/device/optim/quad.cuh>
#include <entrain/device/optim/rules.cuh>
#include <entrain/device/optim/update_table.cuh>

// An optimizer's step for a whole arena in one launch, one thread block a chunk of a parameter block.
//
//   const device::update_table table(layout);                                                        // once
//   device::update(queue, optim::adamw{}, context, table, x, gradient, {m, v}, {});                  // all of one type
//   device::update(queue, optim::adamw{}, context, table, master, parameters, gradient, {m, v}, {}); // and a copy of the parameters in 16 bits
//
// Bytes a parameter, AdamW: fp32 28 (x, g, m, v read, x, m, v written); master weights in fp32, parameters and gradient in bfloat16 28, too
// (14 read, 14 written). 124 M parameters: 3.5 GB, 0.81 ms at 4.3 TB/s. SGD 12, with momentum 20; LARS 28: one pass more over x and
// g for its norms, in two stages of a fixed order. LAMB 40 (1.15 ms): x, g, m, v read and m, v written as the norms are taken, then x, m, v
// read and x written; to advance m and v in the second pass instead would be 44. Flops: about 15 a parameter, one division, one root. State: 8 bytes (AdamW), 4, 0.

namespace entrain::device {

struct update_options {
  const double* gradient_scale = nullptr;  // device memory: a factor beside the context's
  const std::uint8_t* idle = nullptr;      // device memory, of each block of the layout: 1 where it rests
  bool stochastic_rounding = false;        // of the 16-bit copy: keyed by (seed, step, index in the arena), the same for every sharding
  std::uint64_t seed = 0;
};

struct update_inputs {
  update_options options;
  double scale;
  random_stream random;
  __device__ double factor() const { return options.gradient_scale ? scale * *options.gradient_scale : scale; }  // of the gradient
};

template <class M, int Fields>
struct state_pointers { M* at[Fields > 0 ? Fields : 1]; };

template <class Rule>
inline constexpr bool has_block_rates = requires(const Rule& rule, const update_block& block) { rule.adapt(block, 0.0, 0.0, 0.0); };
template <class Rule>
inline constexpr bool has_direction = requires { &Rule::direction; };

// x and the state of four elements, or of fewer at a block's end.
template <class Rule, class M, class T, class G>
__device__ inline void update_quad(const Rule& rule, const update_map& table, const update_block& block, const block_rate& own, const update_inputs& in, M scale,
                                   std::size_t at, int here, M* master, T* parameters, const G* gradient, const state_pointers<M, Rule::fields>& state) {
  const bool wide = table.wide;
  quad<G> g{};
  if constexpr (!has_direction<Rule>) g = load_quad_once(gradient + at, here, wide);
  quad<M> x = load_quad(master + at, here, wide), s[Rule::fields > 0 ? Rule::fields : 1];
  for (int f = 0; f < Rule::fields; ++f) s[f] = load_quad(state.at[f] + at, here, wide);
  for (int j = 0; j < 4; ++j) {
    M own_state[Rule::fields > 0 ? Rule::fields : 1];
    for (int f = 0; f < Rule::fields; ++f) own_state[f] = s[f].value[j];
    if (j < here) rule(block, own, scale, M(arithmetic<G>(g.value[j])), x.value[j], own_state);
    for (int f = 0; f < Rule::written; ++f) s[f].value[j] = own_state[f];
  }
  store_quad(master + at, x, here, wide);
  for (int f = 0; f < Rule::written; ++f) store_quad(state.at[f] + at, s[f], here, wide);
  if constexpr (!std::is_same_v<M, T>) {
    quad<T> copy;
    if (in.options.stochastic_rounding) {
      const std::uint64_t first = table.begin + at;
      philox_counter words{};
      if (first % 4 == 0) words = in.random.block(first / 4);
      for (unsigned j = 0; j < 4; ++j) copy.value[j] = stochastically_rounded<T>(float(x.value[j]), first % 4 == 0 ? words[j] : in.random.bits(first + j));
    } else {
      for (int j = 0; j < 4; ++j) copy.value[j] = T(float(x.value[j]));
    }
    store_quad(parameters + at, copy, here, wide);
  }
}

template <class Rule, class M, class T, class G>
__global__ void __launch_bounds__(update_threads)
    update_chunks(Rule rule, update_map table, update_inputs in, M* master, T* parameters, const G* gradient, state_pointers<M, Rule::fields> state) {
  const update_chunk chunk = table.chunks[blockIdx.x];
  if (in.options.idle && in.options.idle[chunk.block]) return;
  const double scale = in.factor();
  const update_block block = table.blocks[chunk.block];
  block_rate own{};
  if constexpr (has_block_rates<Rule>) own = table.rates[chunk.block];
  for (std::uint32_t i = 4 * threadIdx.x; i < chunk.count; i += 4 * blockDim.x)
    update_quad(rule, table, block, own, in, M(scale), chunk.offset + i, int(chunk.count - i), master, parameters, gradient, state);
}

// Sums of squares of x and of the gradient: partial[2 * chunk] and the next.
template <class M, class G>
__global__ void __launch_bounds__(update_threads) block_squares(update_map table, const M* x, const G* gradient, double* partial) {
  const update_chunk chunk = table.chunks[blockIdx.x];
  const double xx = squares_of_chunk(chunk, x, table.wide), gg = squares_of_chunk(chunk, gradient, table.wide);
  if (threadIdx.x == 0) partial[2 * blockIdx.x] = xx, partial[2 * blockIdx.x + 1] = gg;
}

// Advances the state, with the same sums for x and for the direction that it leads to.
template <class Rule, class M, class G>
__global__ void __launch_bounds__(update_threads)
    advance_chunks(Rule rule, update_map table, update_inputs in, const M* x, const G* gradient, state_pointers<M, Rule::fields> state, double* partial) {
  const update_chunk chunk = table.chunks[blockIdx.x];
  if (in.options.idle && in.options.idle[chunk.block]) return;
  const double factor = in.factor();
  const update_block block = table.blocks[chunk.block];
  double xx = 0, uu = 0;
  for (std::uint32_t i = 4 * threadIdx.x; i < chunk.count; i += 4 * blockDim.x) {
    const std::size_t at = chunk.offset + i;
    const int here = int(chunk.count - i);
    const quad<G> g = load_quad_once(gradient + at, here, table.wide);
    const quad<M> values = load_quad(x + at, here, table.wide);
    quad<M> s[Rule::fields];
    for (int f = 0; f < Rule::fields; ++f) s[f] = load_quad(state.at[f] + at, here, table.wide);
    for (int j = 0; j < 4; ++j) {
      if (j >= here) break;
      M own[Rule::fields];
      for (int f = 0; f < Rule::fields; ++f) own[f] = s[f].value[j];
      const double u = rule.direction(block, M(factor), M(arithmetic<G>(g.value[j])), values.value[j], own);
      for (int f = 0; f < Rule::fields; ++f) s[f].value[j] = own[f];
      xx += double(values.value[j]) * double(values.value[j]), uu += u * u;
    }
    for (int f = 0; f < Rule::fields; ++f) store_quad(state.at[f] + at, s[f], here, table.wide);
  }
  xx = block_sum(xx), uu = block_sum(uu);
  if (threadIdx.x == 0) partial[2 * blockIdx.x] = xx, partial[2 * blockIdx.x + 1] = uu;
}

template <class Rule>
__global__ void settle_block_rates(Rule rule, update_map table, update_inputs in, const double* partial, block_rate* rates) {
  const update_block block = table.blocks[blockIdx.x];
  const double* mine = partial + 2 * std::size_t(block.first_chunk);
  const double xx = sum_of_partials(mine, block.chunks, 2), gg = sum_of_partials(mine + 1, block.chunks, 2);
  if (threadIdx.x == 0) rates[blockIdx.x] = rule.adapt(block, xx, gg, in.factor());
}

template <class Rule, class M, class T, class G>
void update_by(const engine::cuda_queue& queue, const Rule& rule, const update_table& table, const update_inputs& in, M* master, T* parameters, const G* gradient,
               const state_pointers<M, Rule::fields>& state) {
  bool all = aligned(master) && aligned(parameters) && aligned(gradient);
  for (int f = 0; f < Rule::fields; ++f) all = all && aligned(state.at[f]);
  const update_map map = table.map(all);
  if constexpr (has_block_rates<Rule>) {
    if (table.cuts_blocks()) throw usage_error("device::update", "an optimizer that needs the norms of whole blocks cannot update parts of them", "a table of whole blocks", "one that begins or ends within a block");
    if constexpr (has_direction<Rule>)
      launch(queue, advance_chunks<Rule, M, G>, {unsigned(table.chunk_count()), update_threads}, rule, map, in, static_cast<const M*>(master), gradient, state, table.partial());
    else
      launch(queue, block_squares<M, G>, {unsigned(table.chunk_count()), update_threads}, map, static_cast<const M*>(master), gradient, table.partial());
    launch(queue, settle_block_rates<Rule>, {unsigned(table.block_count()), 128}, rule, map, in, static_cast<const double*>(table.partial()), table.rates());
  }
  launch(queue, update_chunks<Rule, M, T, G>, {unsigned(table.chunk_count()), update_threads}, rule, map, in, master, parameters, gradient, state);
}

// Arrays begin where the table does. M: float or double; T: M (then parameters is master), or a 16-bit type, the parameters' rounded copy;
// G: float, double or a 16-bit type. context.kind is not read: the table knows.
template <class Optimizer, class M, class T, class G>
void update(const engine::cuda_queue& queue, const Optimizer& optimizer, const optim::update_context& context, const update_table& table, M* master, T* parameters,
            const G* gradient, std::array<std::type_identity_t<M>*, Optimizer::fields.size()> state, const update_options& options = {}) {
  static_assert(std::floating_point<M> && (std::is_same_v<M, T> || sizeof(T) < sizeof(M)));
  const update_inputs in{options, context.gradient_scale, random_stream(options.seed, purpose::rounding, 0, context.step)};
  with_rule<M>(optimizer, context, [&](const auto& rule) {
    state_pointers<M, std::remove_cvref_t<decltype(rule)>::fields> pointers{};
    for (int f = 0; f < std::remove_cvref_t<decltype(rule)>::fields; ++f) pointers.at[f] = state[std::size_t(f)];
    update_by(queue, rule, table, in, master, parameters, gradient, pointers);
  });
}
template <class Optimizer, class M, class G>
void update(const engine::cuda_queue& queue, const Optimizer& optimizer, const optim::update_context& context, const update_table& table, M* parameters, const G* gradient,
            std::array<std::type_identity_t<M>*, Optimizer::fields.size()> state, const update_options& options = {}) {
  update(queue, optimizer, context, table, parameters, parameters, gradient, state, options);
}

}  // namespace entrain::device
