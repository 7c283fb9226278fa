// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <type_traits>
#include <vector>

#include <entrain/comm/collectives.hpp>
#include <entrain/compress/choices.hpp>
#include <entrain/core/memory.hpp>

// One end of the wire between two stages of a pipeline: what goes over it is encoded by the trainer's compressor. An activation is
// sent once and never again, so only compressors without memory will do, and those that leave values out would cut the model apart. In an evaluation, values travel as they are.
//
// Bytes: wire_count of the values of a micro-batch. Memory: the encoding, and a copy of the values, since encode() may change them.

namespace entrain::parallel {

template <class C>
constexpr bool takes_activations() {
  if constexpr (compress::chooser<C>) return false;
  else if constexpr (compress::is_identity<C>) return true;
  else if constexpr (!(compress::is_positional<C> || C::payload == compress::payload_kind::gatherable) || compress::is_variable<C> || compress::is_direction<C>) return false;
  else return std::is_same_v<compress::state_of<C, float>, compress::no_state>;
}

template <class T, class Communicator, class Compressor>
class boundary {
  static constexpr bool identity = compress::is_identity<Compressor>;
  using wire_type = compress::wire_of<Compressor, T>;

 public:
  static constexpr std::size_t element_bytes = sizeof(wire_type);
  static std::size_t count(const Compressor& c, std::size_t n) { return c.template wire_count<T>(n); }

  // The values may be used again when the request is done. exact: as they are (an evaluation).
  comm::pending<Communicator> start_send(Communicator& comm, const Compressor& c, const compress::context& key, bool exact, view<const T> values, int to, int tag) {
    if (identity || exact) return comm::start_send(comm, values, to, tag);
    if constexpr (!identity) {
      copy_.assign(values.begin(), values.end());
      wire_.resize(count(c, values.size()));
      compress::no_state none;
      c.encode(none, key, std::span<T>(copy_), std::span<wire_type>(wire_));
    }
    return comm::start_send(comm, view<const wire_type>(wire_.data(), wire_.size()), to, tag);
  }
  void receive(Communicator& comm, const Compressor& c, const compress::context& key, bool exact, view<T> values, int from, int tag) {
    if (identity || exact) return comm.start_receive(values, from, tag).wait();
    if constexpr (!identity) {
      wire_.resize(count(c, values.size()));
      comm.start_receive(view<wire_type>(wire_.data(), wire_.size()), from, tag).wait();
      std::fill(values.begin(), values.end(), T(0));
      c.decode_add(key, std::span<const wire_type>(wire_), values.span(), T(1));
    }
  }

 private:
  std::vector<T> copy_;
  std::vector<wire_type> wire_;
};

}  // namespace entrain::parallel
