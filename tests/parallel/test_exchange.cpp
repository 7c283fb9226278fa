// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

#include <entrain/comm/self.hpp>
#include <entrain/comm/threads.hpp>
#include <entrain/compress/after.hpp>
#include <entrain/compress/per_layer.hpp>
#include <entrain/compress/way.hpp>
#include <entrain/parallel/exchange.hpp>

#include "comm/holds.hpp"

// Every route with a compressor that loses nothing: what comes out is the sum over ranks, exactly, since all values are small whole
// numbers. Lengths of blocks are odd, some are empty, and ranks are more than values.

using namespace entrain;

namespace {

// The members that these have in common.
template <compress::payload_kind Kind>
struct plain {
  using slot_type = slot::compression;
  static constexpr compress::payload_kind payload = Kind;
  static constexpr bool lossless = true;
  template <class T>
  using wire_type = T;
  template <class T>
  std::size_t wire_count(std::size_t n) const { return n; }
  template <class T>
  compress::no_state make_state(std::size_t) const { return {}; }
  template <class T>
  void encode(compress::no_state&, const compress::context&, std::span<T> x, std::span<T> wire) const { std::copy(x.begin(), x.end(), wire.begin()), std::fill(x.begin(), x.end(), T(99)); }
  template <class T>
  void decode_add(const compress::context&, std::span<const T> wire, std::span<T> x, T scale) const {
    for (std::size_t i = 0; i < x.size(); ++i) x[i] += scale * wire[i];
  }
};
using summed = plain<compress::payload_kind::summable>;
using gathered = plain<compress::payload_kind::gatherable>;

// Only what is not zero, as value and position.
template <bool Ascending>
struct entries {
  using slot_type = slot::compression;
  static constexpr auto payload = compress::payload_kind::sparse;
  static constexpr bool variable = true, ascending = Ascending;
  template <class T>
  using wire_type = compress::sparse_entry<T>;
  template <class T>
  std::size_t wire_count(std::size_t n) const { return n; }
  template <class T>
  compress::no_state make_state(std::size_t) const { return {}; }
  template <class T>
  std::size_t encode(compress::no_state&, const compress::context&, std::span<T> x, std::span<compress::sparse_entry<T>> wire) const {
    std::size_t n = 0;
    for (std::uint32_t i = 0; i < x.size(); ++i)
      if (x[i] != 0) wire[n++] = {i, x[i]};
    if (!Ascending) std::reverse(wire.begin(), wire.begin() + std::ptrdiff_t(n));
    return n;
  }
  template <class T>
  void decode_add(const compress::context&, std::span<const compress::sparse_entry<T>> wire, std::span<T> x, T scale) const {
    for (const auto& e : wire) x[e.index] += scale * e.value;
  }
};

struct parts : plain<compress::payload_kind::two_phase> {
  template <class T>
  std::size_t part_count(std::size_t n) const { return n; }
  template <class T>
  void encode_parts(compress::no_state&, const compress::context& key, std::span<T> x, std::size_t each, std::span<T> wire) const {
    HOLDS(wire.size() == each * key.ranks);
    std::fill(wire.begin(), wire.end(), T(77));
    std::copy(x.begin(), x.end(), wire.begin());
  }
  template <class T>
  void combine(compress::no_state&, const compress::context& key, std::span<const T> arrived, std::size_t n, std::span<T> out) const {
    const std::size_t each = arrived.size() / key.ranks;
    for (std::size_t i = 0; i < n; ++i) {
      out[i] = 0;
      for (std::size_t r = 0; r < key.ranks; ++r) out[i] += arrived[r * each + i];
    }
  }
};

// The first row in one round, the others in the next, times what the first value of the sum is.
struct two_rounds : plain<compress::payload_kind::rounds> {
  static constexpr int rounds = 2;
  template <class T>
  std::size_t round_count(const compress::block& b, int r) const { return r == 0 ? b.columns : b.count - b.columns; }
  template <class T>
  void round(compress::no_state&, const compress::context& key, int r, std::span<T> x, std::span<const T> before, std::span<T> wire) const {
    if (r == 0) return void(std::copy_n(x.begin(), key.columns, wire.begin()));
    std::copy(before.begin(), before.end(), x.begin());
    std::copy(x.begin() + std::ptrdiff_t(key.columns), x.end(), wire.begin());
  }
  template <class T>
  void finish(compress::no_state&, const compress::context& key, std::span<const T> sum, std::span<T> x) const { std::copy(sum.begin(), sum.end(), x.begin() + std::ptrdiff_t(key.columns)); }
};

parameter_layout blocks() {
  parameter_layout out;
  out.add("seen", {3}, block_kind::statistic);
  out.add("a", {7, 3}, block_kind::weight);
  out.add("bias", {3}, block_kind::vector);
  out.add("none", {0}, block_kind::vector);
  out.add("b", {5, 4, 2}, block_kind::weight);
  out.add("one", {1}, block_kind::vector);
  out.add("c", {2, 17}, block_kind::weight);
  return out;
}

// A whole number for every value, many of them zero.
float value(int rank, std::uint64_t step, std::size_t i) { return float(int((i * 7 + std::size_t(rank) * 13 + step * 5) % 9) - 4) * float((i + std::size_t(rank)) % 3 == 0); }

template <class Placement, class C>
void check_sums(comm::threads& world, const C& c, std::size_t bucket_bytes, bool whole_blocks) {
  const auto layout = blocks();
  parallel::exchange<float, comm::threads, C, Placement> exchange(layout, world, c, bucket_bytes, whole_blocks);
  buffer<float> gradient(exchange.arena_size());
  for (std::uint64_t step = 0; step < 5; ++step) {
    for (const auto& b : layout.blocks())
      for (std::size_t i = 0; i < b.count; ++i) gradient[b.offset + i] = value(world.rank(), step, b.offset + i);
    const auto before = world.counters().bytes;
    exchange.begin_step({.seed = 1, .step = step});
    for (const std::size_t i : {6, 4, 5, 3, 1, 2, 0}) exchange.ready(i, gradient.span());  // not in the arena's order
    exchange.finish_stages(gradient.span(), 10);
    for (std::size_t b = 0; b < exchange.buckets().size(); ++b) {
      const auto own = exchange.wait(b, gradient.span());
      for (const auto& at : layout.blocks()) {
        if (at.kind == block_kind::statistic) continue;
        for (std::size_t i = std::max(own.offset, at.offset); i < std::min(own.offset + own.values.size(), at.offset + at.count); ++i) {
          float expected = 0;
          for (int r = 0; r < world.size(); ++r) expected += value(r, step, i);
          HOLDS(gradient[i] == expected);
        }
      }
    }
    parallel::plan plan;
    exchange.add_to(plan, step);
    const bool exact = std::none_of(plan.begin(), plan.end(), [](const auto& p) { return p.at_most; });
    const auto sent = world.counters().bytes - before;
    HOLDS(exact ? sent == parallel::bytes_sent(plan) : sent <= parallel::bytes_sent(plan));
  }
}

template <class C>
void check(const C& c) {
  for (const int ranks : {1, 2, 3, 4, 5, 7})
    for (const std::size_t bucket : {std::size_t(4), std::size_t(100), std::size_t(1) << 20}) {
      CAPTURE(ranks, bucket);
      CHECK_NOTHROW(comm::run_ranks(ranks, [&](comm::threads& world) {
        check_sums<replicated>(world, c, bucket, false);
        check_sums<replicated>(world, c, bucket, true);
        check_sums<sharded>(world, c, bucket, false);
      }));
    }
}

}  // namespace

TEST_CASE("summed, gathered, and where it lies", "[exchange]") {
  check(compress::none{});
  check(summed{});
  check(gathered{});
}

TEST_CASE("sparse, three ways, lengths that vary", "[exchange]") {
  check(entries<false>{});
  check(compress::travel{entries<true>{}, compress::way::gather});
  check(compress::travel{entries<true>{}, compress::way::sparse});
  check(compress::travel{entries<true>{}, compress::way::dense});
  comm::self alone;
  const auto layout = blocks();
  using merged = compress::travel<entries<false>>;
  CHECK_THROWS_AS((parallel::exchange<float, comm::self, merged, replicated>(layout, alone, merged(entries<false>{}, compress::way::sparse), 100)), usage_error);
}

TEST_CASE("two phases, and rounds", "[exchange]") {
  check(parts{});
  check(two_rounds{});
}

TEST_CASE("several routes at once, changing with time", "[exchange]") {
  using namespace compress;
  check(per_layer{rule{parts{}, {.matrices = true, .at_least = 30}}, rule{two_rounds{}, {.matrices = true}}, rule{gathered{}, {.name = "bias"}}, none{}});
  check(after{2, per_layer{rule{after{3, entries<true>{}}, {.at_least = 20}}, parts{}}});
}
