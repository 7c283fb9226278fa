// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <tuple>
#include <type_traits>

#include <entrain/compress/choices.hpp>
#include <entrain/nn/concepts.hpp>
#include <entrain/optim/concepts.hpp>
#include <entrain/parallel/offloaded.hpp>

// What goes with an optimizer that owns its communication (parallel/local_steps.hpp), and a sentence for what does not.

namespace entrain::parallel {

// Compressors whose decoded sum, with what they keep, is the sum that was sent: no directions, no momentum of their own, no block left out.
template <class Compression, class T>
constexpr bool takes_moves() {
  return []<class... C>(std::type_identity<std::tuple<C...>>) {
    return ((!compress::is_direction<C> && !compress::has_momentum<C> && !requires(const C& c, compress::state_of<C, T>& state) { c.active(state); }) && ...);
  }(std::type_identity<compress::leaves_of<Compression>>{});
}

template <class Setup>
constexpr bool check_local_steps() {
  static_assert(takes_moves<typename Setup::compressor, typename kept_type_of<Setup>::type>(),
                "an optimizer that owns its communication sends what ranks have moved, of which the sum must arrive: use compress::two_phase{compress::sign{}} or another compressor "
                "without momentum that sends every block and no mere direction");
  static_assert(!optim::may_clip<typename Setup::optimizer>,
                "an optimizer that owns its communication does not know the norm of the gradient over all ranks in most of its steps: use it without optim::clipped");
  return true;
}

}  // namespace entrain::parallel
