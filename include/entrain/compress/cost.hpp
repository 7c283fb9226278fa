// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include <entrain/compress/choices.hpp>
#include <entrain/compress/none.hpp>
#include <entrain/compress/way.hpp>
#include <entrain/compress/wires.hpp>

// What it takes to exchange blocks under a compressor, predicted: the processor's part from `costs` (given, or measured by
// compress/measure.hpp), the wires' part from the cost model of collectives. Pure functions: ranks that have the same figures get
// the same answers. With n values, p ranks, E, D and C the seconds a value to encode, decode one encoding, and combine:
//
//   identity     all-reduce of n
//   summable     n E + all-reduce of the wire + n D
//   gatherable   n E + all-gather of the wire + p n D; a `variable` one gathers lengths before
//   sparse       n E + the cheapest way of sparse_times()
//   two_phase    n E + all-to-all of a p-th of the wire to each + n C + all-gather of a p-th + n D
//   rounds       n E + the all-reduce of every round + n D
//
// Blocks are taken to be exchanged alone and at once by all ranks; several blocks are one message, as in an exchange's bucket.

namespace entrain::compress {

// Of one compressor. Seconds on the processor that runs the rank.
struct costs {
  double fixed = 0;    // for each block, however small
  double encode = 0;   // a value
  double decode = 0;   // a value of the block, for one rank's encoding
  double combine = 0;  // two_phase: a value that arrives at the rank that combines
  double merge = 0;    // sparse: an entry of the result of merging two streams
  double filled = 1;   // `variable`: share of wire_count that is sent

  friend bool operator==(const costs&, const costs&) = default;
  std::string describe() const { return describe_members("costs", "fixed", fixed, "encode", encode, "decode", decode, "combine", combine, "merge", merge, "filled", filled); }
};

struct exchange_cost {
  double encode = 0, wires = 0, decode = 0;  // seconds
  double bytes = 0;                          // that a rank sends
  double seconds() const { return encode + wires + decode; }
};

// ---- sparse sums ------------------------------------------------------------------------------------------------------------------

// How the indices that ranks choose relate: real gradients lie between equal and random.
enum class supports { equal, random, disjoint };

// Distinct indices among those of `ranks` ranks, k of d each; for random ones their mean, d (1 - (1 - k/d)^p).
inline double union_size(double d, double k, double ranks, supports how = supports::random) {
  if (k >= d) return d;
  if (how == supports::equal) return k;
  if (how == supports::disjoint) return std::min(d, ranks * k);
  return -d * std::expm1(ranks * std::log1p(-k / d));
}

// comm::sparse_all_reduce of k pairs of d values of `width` bytes: recursive doubling (SparCML, SC 2019). In every round streams of
// the union so far are exchanged, a header of 16 bytes and a body; a body is never longer than the whole vector. Ranks beyond a
// power of two combine in pairs before and get the result after. What arrives is combined at the wires' price of a reduction, and
// `merge` seconds more for each entry of the result while that has pairs (no memory is read in order then).
inline wires::transfer sparse_all_reduce_time(const wires& w, int ranks, double d, double k, std::size_t width, supports how = supports::random, double merge = 0) {
  wires::transfer all;
  if (ranks <= 1) return all;
  const double whole = d * double(width), pair = double(4 + width);
  const auto send = [&](double of_ranks, double then) {  // then: ranks whose entries the result has; 0: nothing is merged
    const double body = std::min(union_size(d, k, of_ranks, how) * pair, whole), result = then > 0 ? union_size(d, k, then, how) : 0;
    const auto& head = w.link(ranks, 16);
    const auto& link = w.link(ranks, std::uint64_t(body));
    all += {head.alpha + 16 * head.beta, 16 + body};
    if (body > 0) all.seconds += link.alpha + body * link.beta + (then > 0 ? body * link.gamma : 0) + (result * pair <= whole ? result * merge : 0);
  };
  const int core = int(std::bit_floor(unsigned(ranks))), extra = ranks - core;
  const auto ranks_of = [&](int together) { return double(together + std::min(extra, together)); };
  if (extra > 0) send(1, 2);
  for (int together = 1; together < core; together *= 2) send(ranks_of(together), ranks_of(2 * together));
  if (extra > 0) send(ranks, 0);
  return all;
}

// What the processor does with entries, in seconds; a server's core of today where nothing was measured.
struct sparse_work {
  double entry, merge;  // added to the values; of a result of merging
  constexpr sparse_work(double added = 4e-9, double merged = 5e-9) : entry(added), merge(merged) {}
};

// The three ways of k entries of n values, from encoded to decoded.
struct sparse_choice {
  way chosen = way::gather;
  exchange_cost gather, sparse, dense;  // .encode is 0: it is the same for all

  const exchange_cost& best() const { return chosen == way::gather ? gather : chosen == way::sparse ? sparse : dense; }
};

// merges: indices ascend, so that streams can be merged. variable: lengths travel first. Of equals the first of gather, sparse,
// dense wins. The same on all ranks that have the same figures.
inline sparse_choice choose_sparse(const wires& w, std::size_t n, std::size_t k, int ranks, std::size_t width = sizeof(float), bool merges = true, sparse_work work = {},
                                   bool variable = false, way wanted = way::cheapest) {
  sparse_choice out;
  const double p = ranks, d = double(n), pass = d * double(width) * w.link(ranks, n * width).gamma;  // once over all values
  const double filled = double(std::min(k, n));
  auto gathered = w.time(variable ? comm::collective::all_gather_v : comm::collective::all_gather, ranks, k, width <= 4 ? 8 : 2 * width);  // as sparse_entry lies in memory
  if (variable) gathered += w.time(comm::collective::all_gather, ranks, 1, sizeof(std::uint32_t));
  out.gather = {0, gathered.seconds, p * filled * work.entry, gathered.bytes};

  const auto merged = sparse_all_reduce_time(w, ranks, d, filled, width, supports::random, work.merge);
  const double everyone = union_size(d, filled, p);
  const bool whole = everyone * double(4 + width) > d * double(width);  // the result is a whole vector
  out.sparse = {0, merged.seconds, whole ? pass : everyone * work.entry, merged.bytes};

  const auto summed = w.time(comm::collective::all_reduce, ranks, n, width);
  out.dense = {0, summed.seconds, filled * work.entry + pass, summed.bytes};

  if (wanted != way::cheapest) return out.chosen = wanted, out;
  if (merges && out.sparse.seconds() < out.best().seconds()) out.chosen = way::sparse;
  if (out.dense.seconds() < out.best().seconds()) out.chosen = way::dense;
  return out;
}

// ---- any payload --------------------------------------------------------------------------------------------------------------------

namespace detail {

inline std::size_t filled_of(std::size_t most, double share) { return std::min(most, std::size_t(std::ceil(share * double(most)))); }

template <class T, class C>
wires::transfer two_phase_time(const C& c, const wires& w, std::span<const block> blocks, int ranks) {
  std::size_t part = 0;
  for (const block& b : blocks) part += c.template part_count<T>(((b.count + std::size_t(ranks) - 1) / std::size_t(ranks) + 7) / 8 * 8);
  auto all = w.time(comm::collective::all_to_all, ranks, part, sizeof(wire_of<C, T>));
  return all += w.time(comm::collective::all_gather, ranks, part, sizeof(wire_of<C, T>));
}

template <class T, class C>
wires::transfer rounds_time(const C& c, const wires& w, std::span<const block> blocks, int ranks) {
  wires::transfer all;
  for (int r = 0; r < C::rounds; ++r) {
    std::size_t count = 0;
    for (const block& b : blocks) count += c.template round_count<T>(b, r);
    all += w.time(comm::collective::all_reduce, ranks, count, sizeof(wire_of<C, T>));
  }
  return all;
}

}  // namespace detail

// Of blocks that travel together, values of type T; the number of ranks is that of the first block.
template <class T, class C>
exchange_cost predict(const C& c, const costs& k, const wires& w, std::span<const block> blocks) {
  using wire = wire_of<C, T>;
  exchange_cost out;
  if (blocks.empty()) return out;
  const int p = int(blocks[0].ranks);
  std::size_t n = 0, count = 0;
  for (const block& b : blocks) n += b.count;
  if constexpr (is_identity<C>) {
    const auto sent = w.time(comm::collective::all_reduce, p, n, sizeof(T));
    return {0, sent.seconds, 0, sent.bytes};
  } else {
    out.encode = double(blocks.size()) * k.fixed + double(n) * k.encode, out.decode = double(n) * k.decode;
    wires::transfer sent;
    if constexpr (C::payload == payload_kind::two_phase) {
      sent = detail::two_phase_time<T>(c, w, blocks, p), out.decode += double(n) * k.combine;
    } else if constexpr (C::payload == payload_kind::rounds) {
      sent = detail::rounds_time<T>(c, w, blocks, p);
    } else {
      for (const block& b : blocks) count += detail::filled_of(c.template wire_count<T>(b), is_variable<C> ? k.filled : 1);
      if constexpr (C::payload == payload_kind::summable) {
        sent = w.time(comm::collective::all_reduce, p, count, sizeof(wire));
      } else if constexpr (C::payload == payload_kind::gatherable) {
        sent = w.time(is_variable<C> ? comm::collective::all_gather_v : comm::collective::all_gather, p, count, sizeof(wire));
        if constexpr (is_variable<C>) sent += w.time(comm::collective::all_gather, p, blocks.size(), sizeof(std::uint32_t));
        out.decode *= p;
      } else {
        const double entry = count == 0 ? 0 : out.decode / double(count);
        const auto ways = choose_sparse(w, n, count, p, sizeof(T), is_ascending<C>, {entry, k.merge}, is_variable<C>, way_of(c));
        out.decode = ways.best().decode;
        sent = {ways.best().wires, ways.best().bytes};
      }
    }
    out.wires = sent.seconds, out.bytes = sent.bytes;
    return out;
  }
}
template <class T, class C>
exchange_cost predict(const C& c, const costs& k, const wires& w, const block& b) {
  return predict<T>(c, k, w, std::span<const block>(&b, 1));
}

// DRAGONN's rule (Wang et al., ICML 2022), for any compressor: compression pays where what it costs is less than what it saves.
template <class T, class C>
bool pays(const C& c, const costs& k, const wires& w, const block& b) {
  return predict<T>(c, k, w, b).seconds() < predict<T>(none{}, {}, w, b).seconds();
}

}  // namespace entrain::compress
