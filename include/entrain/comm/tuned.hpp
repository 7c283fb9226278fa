// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>
#include <utility>

#include <entrain/comm/concepts.hpp>
#include <entrain/comm/traits.hpp>

// A communicator whose native collectives have to prove themselves: at each call the cost model takes the fastest of the native way and the
// algorithms over messages (comm/selection.hpp). Back-ends that call themselves the best are otherwise taken at their word at compile
// time, which keeps thirty algorithms and the cost model out of programs that do not need them.
//
//   comm::tuned<comm::mpi> world{argc, argv};   // everything that comm::mpi is, and between nodes what the profile says is faster
//
// Worth it where bench/run.sh calibrate (or ENTRAIN_PROFILE) shows an algorithm before the library's own.

namespace entrain::comm {

template <communicator C>
class tuned : public C {
 public:
  struct abilities {
    template <collective Kind, class T, class Op, class Space>
    static constexpr bool native = comm::native<C, Kind, T, Op, Space>;
  };

  using C::C;
  explicit tuned(C inner) : C(std::move(inner)) {}
  tuned split(int colour, int key) { return tuned(C::split(colour, key)); }
};

}  // namespace entrain::comm
