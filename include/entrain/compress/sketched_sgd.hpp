// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include <entrain/core/describe.hpp>
#include <entrain/core/memory.hpp>
#include <entrain/compress/concepts.hpp>
#include <entrain/compress/detail/count_sketch.hpp>
#include <entrain/compress/detail/select.hpp>

// Sketched SGD (Ivkin, Rothchild, Ullah, Braverman, Stoica, Arora, "Communication-efficient distributed SGD with sketching", NeurIPS
// 2019): the top k of the sum over ranks, which no rank can know from its own gradient, in two rounds of all-reduce. Round 0
// sums count sketches of gradient + residual; the candidates * k largest estimates of the sum are candidates, the same on all ranks.
// Round 1 sums the candidates' exact values. The k largest sums arrive and leave every rank's residual:
//
//   sum over ranks of residuals + what arrived = sum over ranks of (gradients + residuals before)
//
// holds exactly, candidate by candidate, however bad the sketch was: a wrong candidate costs time, not truth.
//
// Payload: rounds. Wire in fp32: 4 rows * columns bytes, then 4 candidates * k, k = max(1, ceil(ratio * n)). Memory: one value a
// parameter, checkpointed, and 4 bytes a candidate. Cost: rows passes to encode, and the estimates of n values. The paper's momentum is not
// in it (masked at the k values like the residual); an optimizer's own momentum is applied to what arrives.
//
// Pitfall: all ranks must see the same bits of a sum, or they choose other candidates; every all-reduce of the library is so.

namespace entrain::compress {

struct sketched_sgd {
  using slot_type = slot::compression;
  static constexpr payload_kind payload = payload_kind::rounds;
  static constexpr int rounds = 2;
  static constexpr bool shared_seed = true;
  template <class T>
  using wire_type = T;

  int rows = 5;             // 1 to 9
  std::size_t columns = 0;  // 0: 2 k; never more than n / rows
  double ratio = 0.01;
  double candidates = 4;  // candidates / k (the paper's P)

  template <class T>
  struct state {
    buffer<T> residual;
    buffer<std::uint32_t> candidates;  // of this step
    void visit(auto&& visitor) { visitor("residual", residual.span()); }
  };

  template <class T>
  std::size_t round_count(std::size_t n, int r) const { return n == 0 ? 0 : r == 0 ? std::size_t(rows) * columns_of(n) : candidates_of(n); }
  template <class T>
  state<T> make_state(std::size_t n) const {
    detail::check_sketch("compress::sketched_sgd", rows, columns_of(n));
    return {buffer<T>(n), buffer<std::uint32_t>(n == 0 ? 0 : candidates_of(n))};
  }

  template <class T>
  void round(state<T>& s, const context& where, int r, std::span<T> values, std::span<const T> summed, std::span<T> wire) const {
    const std::size_t n = values.size();
    if (n == 0) return;
    const detail::sketch_hash hash(where, rows, columns_of(n));
    T* const e = s.residual.data();
    if (r == 0) {
      for (std::size_t i = 0; i < n; ++i) e[i] += values[i];
      return detail::write_sketch(hash, std::span<const T>(s.residual.span()), wire);
    }
    detail::sketch_estimates<T> estimates(hash, summed, n);
    for (std::size_t first = 0; first < n; first += detail::scan_chunk) {
      const std::size_t count = std::min(detail::scan_chunk, n - first);
      std::copy_n(estimates.chunk(first, count), count, values.data() + first);
    }
    std::uint32_t* candidate = s.candidates.data();
    detail::for_each_largest(detail::in_memory(values), wire.size(), [&](std::uint32_t i, T) { *candidate++ = i; });
    for (std::size_t j = 0; j < wire.size(); ++j) wire[j] = e[s.candidates[j]];
  }

  template <class T>
  void finish(state<T>& s, const context&, std::span<const T> summed, std::span<T> values) const {
    std::fill(values.begin(), values.end(), T(0));
    if (values.empty()) return;
    detail::for_each_largest(detail::in_memory<T>(summed), detail::share_of(ratio, values.size()), [&](std::uint32_t j, T x) {
      values[s.candidates[j]] = x;
      s.residual[s.candidates[j]] = T(0);
    });
  }

  std::string describe() const {
    return describe_members("sketched_sgd", "rows", rows, "columns", columns, "ratio", ratio, "candidates", candidates);
  }
  friend bool operator==(const sketched_sgd&, const sketched_sgd&) = default;

 private:
  std::size_t columns_of(std::size_t n) const { return detail::sketch_columns(columns, detail::share_of(ratio, n), rows, n); }
  std::size_t candidates_of(std::size_t n) const { return detail::room_for(candidates, ratio, n); }
};

}  // namespace entrain::compress
