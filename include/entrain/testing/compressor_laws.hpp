// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

#include <entrain/compress/concepts.hpp>
#include <entrain/testing/detail/compressor_probe.hpp>
#include <entrain/testing/detail/compressor_ranks.hpp>
#include <entrain/testing/detail/compressor_statistics.hpp>
#include <entrain/testing/detail/compressor_wire.hpp>

// The laws of a compressor, for any policy: entrain::testing::check_compressor(my_compressor{}); throws entrain::error
// with the law, the block and the figures when one is broken. Vectors and matrices of up to 4099 values, random and such as
// break arithmetic: zeros, -0, one value, all equal, denormals, 1e30.
//
//   1. Sizes: wire_count is a function of the block; encode fills exactly that much, a `variable` one what it returns and at most
//      that; nothing else in memory changes. Decoding reads what was filled and nothing else.
//   2. Repeatable: the same keys and states give the same bytes, whatever the memory held before. A state that is restored from
//      what it shows to a visitor goes on with the same bytes.
//   3. decode_add adds scale times the decoded value: linear in scale, and it keeps what was there.
//   4. lossless: decode(encode(x)) == x. positional: wire_count == count, and a stretch of the wire decodes alone.
//   5. sparse: distinct indices in range, ascending if `ascending`.
//   6. summable: as many elements on every rank, decoded alike for every rank, and the sum of encodings decodes to the sum (to the
//      wire type's rounding; unless `linear_decode` is false).
//   7. Results are finite and zeros decode to zeros (not of a `direction`).
//   8. Error: E |x - decode(encode(x))|^2 <= (1 - contraction(block)) |x|^2 where that is stated (a delta below 0 allows more than the
//      norm); else at most |x|^2, unless it is `unbiased` or a `direction`.
//   9. unbiased: the mean over seeds is the input (where that hangs on hyper-parameters, `bool keeps_mean() const` says so); errors
//      of different steps, blocks and ranks are uncorrelated. Laws 8 and 9 reject a compressor that keeps them with a chance
//      below one in a million.
//  10. two_phase, rounds: instead of 3 to 6, all ranks get the same result, finite, zero for zeros, repeatable.
//
// Optional constants of a compressor that only the laws read: `linear_decode` (default true), `shared_seed` (true: ranks draw alike, as
// the method wants), `largest` (default 1e30: larger values may become infinite).

namespace entrain::testing {

template <class T = float, class C>
  requires compress::compressor<C, T>
void check_compressor(const C& c) {
  if constexpr (C::payload == compress::payload_kind::two_phase || C::payload == compress::payload_kind::rounds) {
    for (const auto& b : detail::blocks()) detail::check_exchange<T>(c, b);
  } else {
    for (const auto& b : detail::blocks()) {
      detail::require(c.template wire_count<T>(b) == c.template wire_count<T>(b), detail::named("wire_count is a function of the block", b));
      for (const auto& x : {detail::gaussian<T>(b.count, 1), detail::heavy_tailed<T>(b.count, 1), detail::mostly_zero<T>(b.count, 1)}) {
        detail::check_repeatable<T>(c, x, b);
        detail::check_indices<T>(c, x, b);
        detail::check_error<T>(c, x, b);
        detail::check_scale<T>(c, x, b);
        detail::check_positional<T>(c, x, b);
        detail::check_sums<T>(c, x, detail::gaussian<T>(b.count, 2), b);
      }
      for (const auto& x : detail::edge_inputs<T>(b.count, detail::largest_value<C>)) {
        detail::check_repeatable<T>(c, x, b);
        detail::check_indices<T>(c, x, b);
        detail::check_error<T>(c, x, b);
      }
      detail::check_checkpoint<T>(c, b);
    }
    detail::check_unbiased<T>(c, 64, 4000);
    detail::check_unbiased<T>(c, {16, 40}, 400);
    detail::check_independent<T>(c, 200, 200);
    detail::check_contraction<T>(c, 400, 1000);
    detail::check_contraction<T>(c, {24, 16}, 100);
  }
}

// The identity of error feedback over `steps` steps with changing keys: the sum of what was sent + residual = the sum of the gradients,
// for every wrapper whose state shows a "residual". Checked to 1e-12 of the largest sum when T is double.
template <class T = double, class C>
void check_error_feedback(const C& c, std::size_t n = 1000, int steps = 20) {
  for (const compress::block& b : {compress::block(n), compress::block(n / 25, 25), compress::block(1)}) detail::check_feedback<T>(c, b, steps);
}

}  // namespace entrain::testing
