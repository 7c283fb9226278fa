// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <vector>

#include <entrain/comm/collectives.hpp>
#include <entrain/comm/simulated.hpp>
#include <entrain/comm/sparse_all_reduce.hpp>
#include <entrain/comm/threads.hpp>
#include <entrain/compress/cast.hpp>
#include <entrain/compress/cost.hpp>
#include <entrain/compress/elias_qsgd.hpp>
#include <entrain/compress/error_feedback.hpp>
#include <entrain/compress/measure.hpp>
#include <entrain/compress/qsgd.hpp>
#include <entrain/compress/sign.hpp>
#include <entrain/compress/top_k.hpp>

// What an exchange costs: against figures worked out by hand, and against the virtual clock.

using namespace entrain;
using compress::block;
using compress::wires;

namespace {

block of(std::size_t n, std::size_t ranks) {
  block b(n);
  b.ranks = ranks;
  return b;
}

std::vector<std::uint32_t> random_indices(std::size_t d, std::size_t k, unsigned seed) {
  std::vector<std::uint32_t> all(d), chosen;
  std::iota(all.begin(), all.end(), 0u);
  std::mt19937 random(seed);
  std::sample(all.begin(), all.end(), std::back_inserter(chosen), k, random);
  return chosen;
}

// Values as they are, in two phases and in two rounds.
struct whole_parts {
  using slot_type = slot::compression;
  static constexpr auto payload = compress::payload_kind::two_phase;
  template <class T>
  using wire_type = T;
  template <class T>
  std::size_t part_count(std::size_t n) const { return n + 1; }
  template <class T>
  compress::no_state make_state(std::size_t) const { return {}; }
  template <class T>
  void encode_parts(compress::no_state&, const compress::context&, std::span<T> values, std::size_t each, std::span<T> wire) const {
    for (std::size_t i = 0; i < values.size(); ++i) wire[i / each * (each + 1) + i % each] = values[i];
  }
  template <class T>
  void combine(compress::no_state&, const compress::context& where, std::span<const T> arrived, std::size_t n, std::span<T> out) const {
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t r = 0; r < where.ranks; ++r) out[i] += arrived[r * out.size() + i];
  }
  template <class T>
  void decode_add(const compress::context&, std::span<const T> wire, std::span<T> values, T scale) const {
    for (std::size_t i = 0; i < values.size(); ++i) values[i] += scale * wire[i];
  }
};
struct two_rounds {
  using slot_type = slot::compression;
  static constexpr auto payload = compress::payload_kind::rounds;
  static constexpr int rounds = 2;
  template <class T>
  using wire_type = T;
  template <class T>
  std::size_t round_count(const block& b, int r) const { return r == 0 ? b.columns : b.count; }
  template <class T>
  compress::no_state make_state(std::size_t) const { return {}; }
  template <class T>
  void round(compress::no_state&, const compress::context& where, int r, std::span<T> values, std::span<const T> summed, std::span<T> wire) const {
    if (r == 0) std::copy_n(values.begin(), wire.size(), wire.begin());
    else std::copy(values.begin(), values.end(), wire.begin()), std::copy_n(summed.begin(), where.columns, wire.begin());
  }
  template <class T>
  void finish(compress::no_state&, const compress::context&, std::span<const T> summed, std::span<T> values) const { std::copy(summed.begin(), summed.end(), values.begin()); }
};
static_assert(compress::compressor<whole_parts, float> && compress::compressor<two_rounds, float>);

}  // namespace

TEST_CASE("the expected union of random supports", "[compress][cost]") {
  using compress::supports;
  CHECK(compress::union_size(100, 10, 1) == Approx(10));
  CHECK(compress::union_size(100, 10, 2) == Approx(19));            // 100 (1 - 0.81)
  CHECK(compress::union_size(100, 10, 8) == Approx(56.953279));     // 100 (1 - 0.9^8)
  CHECK(compress::union_size(100, 100, 3) == 100);
  CHECK(compress::union_size(100, 10, 8, supports::equal) == 10);
  CHECK(compress::union_size(100, 10, 8, supports::disjoint) == 80);
  CHECK(compress::union_size(100, 10, 20, supports::disjoint) == 100);
  CHECK(compress::union_size(1e9, 1, 1000) == Approx(1000).epsilon(1e-5));  // no cancellation

  const std::size_t d = 10000, k = 300;
  double sum = 0;
  for (unsigned trial = 0; trial < 50; ++trial) {
    std::vector<bool> seen(d);
    for (unsigned r = 0; r < 8; ++r)
      for (const auto i : random_indices(d, k, 100 * trial + r)) seen[i] = true;
    sum += double(std::count(seen.begin(), seen.end(), true)) / 50;
  }
  CHECK(sum == Approx(compress::union_size(d, k, 8)).epsilon(0.005));  // standard deviation of the mean: 4 of 2163
}

TEST_CASE("an exchange costs what the formulas say", "[compress][cost]") {
  // Wires without latency: 1 us a byte. 4 ranks, 1000 values.
  const auto w = wires::uniform(0, 1e6);
  const compress::costs k{.fixed = 1, .encode = 1e-3, .decode = 2e-3};
  const auto dense = compress::predict<float>(compress::none{}, k, w, of(1000, 4));
  CHECK(dense.encode + dense.decode == 0);
  CHECK(dense.wires == Approx(2 * 750 * 4e-6));
  CHECK(dense.bytes == 6000);

  const auto half = compress::predict<float>(compress::cast<bfloat16>{}, k, w, of(1000, 4));
  CHECK(half.encode == Approx(2));  // a block and 1000 values
  CHECK(half.wires == Approx(dense.wires / 2));
  CHECK(half.decode == Approx(2));
  CHECK(half.bytes == 3000);

  const auto bits = compress::predict<float>(compress::sign{}, k, w, of(1000, 4));
  CHECK(bits.bytes == 3 * (4 + 125));  // the pieces that it passes on or gives out
  CHECK(bits.wires == Approx(3 * 129e-6));
  CHECK(bits.decode == Approx(4 * 2));  // everybody's

  auto shares = k;
  shares.filled = 0.25;
  const compress::elias_qsgd elias{};
  const auto coded = compress::predict<float>(elias, shares, w, of(1000, 4));
  const auto bytes = std::size_t(std::ceil(0.25 * double(elias.wire_count<float>(1000))));
  CHECK(coded.wires == Approx(3e-6 * double(bytes + 4)));

  block matrix(20, 50);
  matrix.ranks = 4;
  const auto rounds = compress::predict<float>(two_rounds{}, k, w, matrix);
  CHECK(rounds.wires == Approx(2 * 0.75 * 4e-6 * 1050).epsilon(0.05));
  CHECK(rounds.decode == Approx(2));
  auto three = k;
  three.combine = 5e-3;
  const auto parts = compress::predict<float>(whole_parts{}, three, w, of(1000, 4));  // of 256 values and one more, there and back
  CHECK(parts.wires == Approx(2 * 3 * 257 * 4e-6));
  CHECK(parts.bytes == 2 * 3 * 257 * 4);
  CHECK(parts.decode == Approx(2 + 5));

  // Blocks that travel together are one message.
  const auto late = wires::uniform(1e-3, 1e6);
  const std::vector<block> two{of(600, 4), of(400, 4)};
  const auto together = compress::predict<float>(compress::cast<bfloat16>{}, k, late, std::span<const block>(two));
  CHECK(together.wires == Approx(compress::predict<float>(compress::cast<bfloat16>{}, k, late, of(1000, 4)).wires));
  CHECK(together.encode == Approx(3));
  CHECK(compress::predict<float>(compress::cast<bfloat16>{}, k, late, of(1000, 1)).wires == 0);  // alone

  CHECK_THROWS_AS(wires::uniform(-1, 1e6), usage_error);
  CHECK_THROWS_AS(wires::uniform(0, 0), usage_error);
}

TEST_CASE("predicted wires take what the virtual clock shows", "[compress][cost]") {
  for (const auto& [latency, rate] : {std::pair{1e-6, 1e10}, {5e-5, 12.5e6}, {2e-6, 1.25e9}})
    for (const int ranks : {2, 3, 4, 8}) {
      const auto w = wires::uniform(latency, rate);
      for (const std::size_t n : {100u, 4096u, 100000u}) {
        const auto t = w.time(comm::collective::all_reduce, ranks, n, 4);
        comm::problem what{.kind = comm::collective::all_reduce, .size = ranks, .count = n, .width = 4};
        const auto* how = comm::choose("wires", "", what, true, w.costs).built;
        const auto report = comm::simulate(ranks, {.network = comm::network::uniform(latency, rate)}, [&](comm::simulated& world) {
          std::vector<float> x(n);
          world.use(*how);
          comm::all_reduce(world, x);
        });
        CAPTURE(latency, ranks, n, how->name);
        CHECK(t.seconds == Approx(report.finish).epsilon(0.02));
        CHECK(t.bytes == Approx(double(report.ranks[0].bytes)));
      }
      const std::size_t piece = 10000;
      const auto gathered = comm::simulate(ranks, {.network = comm::network::uniform(latency, rate)}, [&](comm::simulated& world) {
        std::vector<std::uint8_t> mine(piece), all(piece * std::size_t(ranks));
        comm::all_gather(world, mine, all);
      });
      CHECK(w.time(comm::collective::all_gather, ranks, piece, 1).seconds == Approx(gathered.finish).epsilon(0.3));  // it may go by another algorithm
      CHECK(w.time(comm::collective::all_gather, ranks, piece, 1).bytes == double(gathered.ranks[0].bytes));
    }
}

TEST_CASE("a sparse all-reduce takes what the virtual clock shows", "[compress][cost]") {
  using compress::supports;
  const double latency = 1e-6, rate = 1e9, gamma = 2e-10;
  const auto w = wires::uniform(latency, rate, gamma);
  const std::size_t d = 20000;
  for (const int ranks : {1, 2, 3, 4, 6, 8, 13})
    for (const std::size_t k : {50u, 400u, 4000u})
      for (const auto how : {supports::equal, supports::random, supports::disjoint}) {
        if (how == supports::disjoint && k * std::size_t(ranks) > d) continue;
        const auto report = comm::simulate(ranks, {.network = comm::network::uniform(latency, rate), .gamma = gamma}, [&](comm::simulated& world) {
          std::vector<std::uint32_t> indices(k);
          if (how == supports::random) indices = random_indices(d, k, unsigned(world.rank()));
          else std::iota(indices.begin(), indices.end(), how == supports::disjoint ? std::uint32_t(k) * std::uint32_t(world.rank()) : 0u);
          const std::vector<float> values(k, 1.0f);
          comm::sparse_stream<float> stream(d);
          stream.append({std::span<const std::uint32_t>(indices), std::span<const float>(values)});
          comm::sparse_all_reduce(world, stream);
        });
        CAPTURE(ranks, k, int(how));
        const auto t = compress::sparse_all_reduce_time(w, ranks, double(d), double(k), 4, how);
        // Folded ranks start their rounds late, and the largest union is not on everybody's way.
        const bool even = (ranks & (ranks - 1)) == 0;
        CHECK(t.seconds == Approx(report.finish).epsilon(how == supports::random ? (even ? 0.02 : 0.1) : even ? 1e-9 : 0.1));
      }
}

TEST_CASE("the cheapest way of sparse gradients", "[compress][cost]") {
  using compress::way;
  const auto w = wires::uniform(1e-6, 1e9, 1e-10);
  const auto slow = wires::uniform(1e-6, 1e8, 1e-10);
  const std::size_t n = 1 << 20;
  // Few ranks, few entries: everybody's entries to everybody. Many ranks: merged. Many entries: densely.
  CHECK(compress::choose_sparse(w, n, 100, 2).chosen == way::gather);
  CHECK(compress::choose_sparse(w, n, n / 3, 8).chosen == way::dense);
  const compress::sparse_work work{2e-9, 3e-9};
  const auto many = compress::choose_sparse(slow, n, n / 1000, 512, sizeof(float), true, work);
  CHECK(many.chosen == way::sparse);
  CHECK(many.sparse.seconds() < many.gather.seconds());
  CHECK(many.sparse.seconds() < many.dense.seconds());
  CHECK(many.best().seconds() == many.sparse.seconds());
  CHECK(many.gather.decode == Approx(512 * 1048 * 2e-9));  // every rank's entries
  CHECK(compress::choose_sparse(slow, n, n / 1000, 512, sizeof(float), false).chosen != way::sparse);  // cannot be merged
  CHECK(compress::choose_sparse(w, n, 100, 2, sizeof(float), true, {}, false, way::dense).chosen == way::dense);
  // Merging: on 4 ranks streams of 2 and of 4 ranks come to be.
  const auto free = compress::choose_sparse(w, n, 1000, 4, sizeof(float), true, {0, 0}), merged = compress::choose_sparse(w, n, 1000, 4, sizeof(float), true, {0, 1e-6});
  CHECK(merged.sparse.wires - free.sparse.wires == Approx(1e-6 * (compress::union_size(double(n), 1000, 2) + compress::union_size(double(n), 1000, 4))));
  CHECK(compress::choose_sparse(w, n, 100, 4, sizeof(double)).gather.bytes == 3 * 100 * 16);  // an entry has padding
  // Each way is what predict() charges when the policy asks for it.
  const compress::costs k{.encode = 1e-9, .decode = 1e-11, .merge = 3e-9};
  const compress::top_k sparsifier{.ratio = 0.01};
  const auto shape = of(n, 4);
  const auto three = compress::choose_sparse(w, n, sparsifier.wire_count<float>(n), 4, sizeof(float), true,
                                             {1e-11 * double(n) / double(sparsifier.wire_count<float>(n)), 3e-9});
  const auto asks = [&](way which) { return compress::predict<float>(compress::travel{sparsifier, which}, k, w, shape).seconds() - 1e-9 * double(n); };
  CHECK(asks(way::gather) == Approx(three.gather.seconds()));
  CHECK(asks(way::sparse) == Approx(three.sparse.seconds()));
  CHECK(asks(way::dense) == Approx(three.dense.seconds()));
  CHECK(asks(way::cheapest) == Approx(three.best().seconds()));
}

TEST_CASE("costs of compressors are measured", "[compress][cost]") {
  const auto exact = compress::measure(compress::error_feedback{compress::top_k{}}, 1 << 14);
  CHECK(exact.encode > 0);
  CHECK(exact.encode < 1e-5);
  CHECK(exact.fixed >= 0);
  CHECK(exact.fixed < 1e-2);
  CHECK(exact.filled == 1);
  CHECK(exact.merge > 0);
  CHECK(exact.merge < 1e-5);
  CHECK(compress::measure(compress::none{}) == compress::costs{});
  const auto coded = compress::measure<double>(compress::elias_qsgd{}, 1 << 14);
  CHECK(coded.filled > 0.01);
  CHECK(coded.filled < 0.8);
  CHECK(compress::measure(compress::qsgd{}, 1).encode > 0);  // however short

  CHECK(compress::measure(whole_parts{}).combine > 0);
  CHECK(compress::measure(two_rounds{}).decode > 0);
  const auto kept = [](const auto& c, std::size_t rows, std::size_t columns) {  // what is timed is the whole way of a block
    block shape(rows, columns);
    shape.ranks = 3;
    std::vector<float> values(shape.count), back(shape.count);
    std::iota(values.begin(), values.end(), 1.0f);
    const auto before = values;
    compress::detail::coder<float, std::remove_cvref_t<decltype(c)>> one(c, shape);
    one.encode(values);
    one.decode(back);
    return back == before;
  };
  CHECK(kept(whole_parts{}, 1, 1000));
  CHECK(kept(whole_parts{}, 1, 3));
  CHECK(kept(two_rounds{}, 10, 7));
  CHECK(kept(compress::none{}, 10, 7));

  std::vector<compress::costs> found(3);
  comm::run_ranks(3, [&](comm::threads& world) { found[std::size_t(world.rank())] = compress::measure_together(world, compress::cast<bfloat16>{}, 4096); });
  CHECK(found[0].encode > 0);
  CHECK(found[1] == found[0]);
  CHECK(found[2] == found[0]);
}

TEST_CASE("wires of a communicator are those by which its collectives are chosen", "[compress][cost]") {
  comm::simulate(4, [](comm::simulated& world) {
    const auto w = compress::wires_of(std::as_const(world));
    if (w.communicator != "simulated" || w.native_always || !w.native[std::size_t(comm::collective::all_reduce)].empty()) throw error("wires_of", "wrong wires");
    if (!(w == compress::wires_of(std::as_const(world))) || w == wires{}) throw error("wires_of", "wrong equality");
    const double begin = world.now();
    std::vector<float> x(50000);
    comm::all_reduce(world, x);
    const double took = world.now() - begin, predicted = w.time(comm::collective::all_reduce, 4, x.size(), 4).seconds;
    if (std::abs(took - predicted) > 0.01 * took) throw error("wires_of", "another time than predicted");
  });
  comm::run_ranks(2, [](comm::threads& world) {
    const auto w = compress::wires_of(std::as_const(world));
    if (!w.native_always || w.native[std::size_t(comm::collective::all_gather_v)] != "native") throw error("wires_of", "comm::threads does everything natively");
    if (!(w.time(comm::collective::all_gather_v, 2, 100, 1).seconds > 0)) throw error("wires_of", "nothing is free");
  });
}
