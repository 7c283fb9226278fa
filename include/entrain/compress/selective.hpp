// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <tuple>
#include <utility>

#include <entrain/comm/concepts.hpp>
#include <entrain/compress/choices.hpp>
#include <entrain/compress/cost.hpp>
#include <entrain/compress/measure.hpp>
#include <entrain/compress/none.hpp>
#include <entrain/core/describe.hpp>

// Compresses a block only where the cost model says that it pays: encoding + what is sent + decoding take less than the dense
// exchange (DRAGONN's efficiency rule, Wang et al., ICML 2022, for any compressor and any wires). The others travel densely.
//
//   compress::selective{compress::error_feedback{compress::top_k{}}, world}                       // measured here: collective
//   compress::selective{compress::top_k{}, compress::wires::uniform(5e-5, 12.5e6), {.encode = 2e-10}}   // by given figures
//   compress::per_layer{compress::selective{compress::qsgd{}, world}, compress::cast<bfloat16>{}}       // as a rule
//
// The decision is a function of the block and of the two figures that the value holds, so it is the same at every step, and on
// every rank if those are: the constructor with a communicator measures on rank 0 and broadcasts. Blocks are judged alone; in
// an exchange they share messages, of which the model then counts a latency too many on both sides. T: the gradient's type.
//
// A checkpoint keeps the decisions, and a run that resumes takes these in place of its own, on any number of ranks: measured anew they
// might differ, and the run would go on otherwise than the one that was interrupted. Only a new run decides anew.

namespace entrain::compress {

template <class C, class T = float>
struct selective {
  using slot_type = slot::compression;
  static constexpr bool measured = true;
  static_assert(!chooser<C>, "compress::selective decides for one compressor: put it inside of compress::per_layer or compress::after, not around them");

  C compressor;
  compress::wires wires;
  compress::costs costs;

  selective(C c, compress::wires w, compress::costs k) : compressor(std::move(c)), wires(std::move(w)), costs(k) {}
  // values: of the blocks with which it is measured. All ranks call it together.
  template <comm::communicator World>
  selective(C c, World& world, std::size_t values = std::size_t(1) << 16)
      : compressor(std::move(c)), wires(wires_of(std::as_const(world))), costs(measure_together<T>(world, compressor, values)) {}

  bool takes(const block& b) const { return b.count > 0 && pays<T>(compressor, costs, wires, b); }
  std::tuple<C, none> choices() const { return {compressor, none{}}; }
  std::size_t choose(const block& b, std::uint64_t) const { return takes(b) ? 0 : 1; }

  std::string describe() const { return "selective{" + entrain::describe(compressor) + ", " + wires.describe() + ", " + costs.describe() + "}"; }
  friend bool operator==(const selective&, const selective&) = default;
};

}  // namespace entrain::compress
