// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include <entrain/compress/concepts.hpp>
#include <entrain/compress/detail/norms.hpp>
#include <entrain/compress/momentum_correction.hpp>
#include <entrain/compress/sampled_top_k.hpp>
#include <entrain/compress/warm_up.hpp>
#include <entrain/core/config.hpp>
#include <entrain/core/describe.hpp>

// Deep gradient compression (Lin, Han, Mao, Wang, Dally, ICLR 2018), for each block on each rank:
//
//   1. clip the gradient's norm to clip / sqrt(ranks)
//   2. u = momentum * u + g,  v = v + u  (momentum_correction.hpp; Nesterov's form on request)
//   3. select about `ratio` of v by a sampled threshold (sampled_top_k.hpp), more during the warm-up (warm_up.hpp)
//   4. send v there, and set v and u there to 0
//
// and the optimizer takes a plain SGD step with the sum. Vectors and small blocks travel whole in the paper, with ordinary momentum:
//
//   compress::per_layer{compress::rule{compress::dgc{.steps_each = steps_an_epoch}, {.matrices = true, .at_least = 1024}},
//                       compress::momentum_correction{compress::none{}}}
//   optim::sgd{.learning_rate = 0.1}  // no momentum here
//
// Payload: sparse, ascending, variable: 8 bytes in fp32 for each of 0.8 k to 1.3 k entries, k = ceil(ratio * n), or for all where k = n.
// Capacity: ceil(1.3 k) of the largest stage, the first. Biased, and v keeps the rest. Memory: u and v, two values a parameter, and the selection's scratch.
//
// Pitfalls: `clip` is in the unit of the values, which are sums over this rank's samples: for a threshold t on the mean gradient of B
// samples over all ranks write t * B / ranks. It is 1/sqrt(ranks), not 1/ranks: ranks' gradients are taken as independent. Each block is
// clipped by itself. With steps_each > 0 the way of travel is chosen for the first stage's size (warm_up.hpp).

namespace entrain::compress {

struct dgc {
  using slot_type = slot::compression;
  static constexpr payload_kind payload = payload_kind::sparse;
  static constexpr bool variable = true, has_momentum = true, keeps_residual = true;
  template <class T>
  using wire_type = sparse_entry<T>;

  double ratio = 0.001;
  double momentum = 0.9;
  bool nesterov = false, mask = true;
  double clip = 0;                 // 0: off
  std::uint64_t steps_each = 100;  // steps that keep 25 %, then 6.25 %, 1.5625 % and 0.4 %; 0: no warm-up
  double sample = 0.01;

  constexpr auto method() const {
    const warm_up selection{sampled_top_k{.ratio = ratio, .sample = sample}, {.steps_each = steps_each}};
    return momentum_correction{selection, {.momentum = momentum, .nesterov = nesterov, .mask = mask}};
  }

  template <class T>
  std::size_t wire_count(const block& b) const { return method().template wire_count<T>(b); }
  template <class T>
  auto make_state(const block& b) const { return method().template make_state<T>(b); }

  template <class T>
  std::size_t encode(auto& state, const context& where, std::span<T> values, std::span<sparse_entry<T>> wire) const {
    if (clip > 0) clip_norm(values, clip / std::sqrt(double(where.ranks)));
    return method().encode(state, where, values, wire);
  }

  template <class T>
  void decode_add(const context& where, std::span<const sparse_entry<T>> wire, std::span<T> values, T scale) const {
    method().decode_add(where, wire, values, scale);
  }

  std::string describe() const {
    return describe_members("dgc", "ratio", ratio, "momentum", momentum, "nesterov", nesterov, "mask", mask, "clip", clip, "steps_each", steps_each,
                            "sample", sample);
  }
  friend bool operator==(const dgc&, const dgc&) = default;

 private:
  template <class T>
  static void clip_norm(std::span<T> values, double most) {
    const double norm = detail::euclidean_norm(values.data(), values.size());
    if (!(norm > most)) return;
    const T factor = T(most / norm);
    T* const x = values.data();
    const std::size_t n = values.size();
    ENTRAIN_VECTORISE
    for (std::size_t i = 0; i < n; ++i) x[i] *= factor;
  }
};

}  // namespace entrain::compress
