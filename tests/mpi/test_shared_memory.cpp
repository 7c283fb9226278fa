// SPDX-License-Identifier: Apache-2.0
#include "catch.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <entrain/comm/collectives.hpp>
#include <entrain/comm/mpi.hpp>

#include "counted_allocations.hpp"
#include "mpi/world.hpp"

// What comm::mpi promises on one node beyond the laws: the bits of the rank order in every collective, lengths around every
// limit of the engine, operations in flight in several groups, arenas, ranks that disagree.

using namespace entrain;

namespace {

struct affine {  // x -> a x + b modulo 2^32: associative, not commutative
  std::uint32_t a, b;
  bool operator==(const affine&) const = default;
};
struct compose {
  static constexpr std::string_view name = "compose";
  static constexpr bool commutative = false;
  template <class T>
  static constexpr T combine(T f, T g) { return {f.a * g.a, f.a * g.b + f.b}; }
};
using triple = std::array<std::uint8_t, 3>;
struct larger {
  static constexpr std::string_view name = "larger";
  static constexpr bool commutative = true;
  template <class T>
  static constexpr T combine(T x, T y) { return x < y ? y : x; }
};

template <class T>
T value(int rank, std::size_t i) {
  const std::uint32_t mixed = std::uint32_t(i * 2654435761u + std::size_t(rank) * 40503u + 12345u);
  if constexpr (std::is_same_v<T, affine>) return {mixed | 1u, mixed >> 3};
  else if constexpr (std::is_same_v<T, triple>) return {std::uint8_t(mixed), std::uint8_t(mixed >> 8), std::uint8_t(mixed >> 16)};
  else if constexpr (std::is_same_v<T, bfloat16>) return bfloat16(float(mixed % 1000) / 7.0f);
  else return T(mixed % 100003) / T(7);  // sums of these are rounded, so that the order shows
}
template <class T>
std::vector<T> operand(int rank, std::size_t n, std::size_t first = 0) {
  std::vector<T> out(n);
  for (std::size_t i = 0; i < n; ++i) out[i] = value<T>(rank, first + i);
  return out;
}
template <class T, class Op>
std::vector<T> in_rank_order(int ranks, std::size_t n) {
  auto out = operand<T>(0, n);
  for (int r = 1; r < ranks; ++r)
    for (std::size_t i = 0; i < n; ++i) out[i] = Op::combine(out[i], value<T>(r, i));
  return out;
}
template <class T>
bool same_bits(const T* a, const std::vector<T>& b) {
  return b.empty() || std::memcmp(a, b.data(), b.size() * sizeof(T)) == 0;
}
template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) { return a.size() == b.size() && same_bits(a.data(), b); }

// Around every limit: none, fewer than ranks, direct and in shares, one chunk, several.
std::vector<std::size_t> lengths(int ranks, std::size_t width) {
  std::vector<std::size_t> out{0, 1, std::size_t(ranks) - 1, 13, 127, 1024, 4099};
  for (const std::size_t bytes : {8 * 1024, 64 * 1024, 128 * 1024, 256 * 1024})
    for (const std::size_t more : {-1, 0, 1}) out.push_back(bytes / width + more);
  out.push_back(1'300'001 / width);
  return out;
}

template <class T, class Op>
void check_reductions(comm::mpi& group) {
  const int rank = group.rank(), ranks = group.size();
  for (const std::size_t n : lengths(ranks, sizeof(T))) {
    CAPTURE(n);
    const auto expected = in_rank_order<T, Op>(ranks, n);
    const auto mine = operand<T>(rank, n);
    std::vector<T> out(n), alias = mine;
    comm::all_reduce(group, mine, out, Op{});
    CHECK(same_bits(out, expected));
    comm::start_all_reduce(group, alias, Op{}).wait();
    CHECK(same_bits(alias, expected));
    const int root = int(n) % ranks;
    alias = mine;
    comm::reduce(group, alias, Op{}, root);
    CHECK(same_bits(alias, rank == root ? expected : mine));

    const std::size_t total = n * std::size_t(ranks), first = n * std::size_t(rank);
    const auto all = in_rank_order<T, Op>(ranks, total);
    const std::vector<T> piece(all.begin() + std::ptrdiff_t(first), all.begin() + std::ptrdiff_t(first + n));
    alias = operand<T>(rank, total);
    comm::reduce_scatter(group, alias, out, Op{});
    CHECK(same_bits(out, piece));
    comm::reduce_scatter(group, alias, view<T>(alias).subview(first, n), Op{});
    CHECK(same_bits(alias.data() + first, piece));
  }
}

template <class T>
void check_copies(comm::mpi& group) {
  const int rank = group.rank(), ranks = group.size();
  const auto p = std::size_t(ranks), r = std::size_t(rank);
  for (const std::size_t n : lengths(ranks, sizeof(T))) {
    CAPTURE(n);
    const int root = int(n) % ranks;
    const auto mine = operand<T>(rank, n);
    auto data = rank == root ? mine : std::vector<T>(n);
    comm::broadcast(group, data, root);
    CHECK(same_bits(data, operand<T>(root, n)));

    std::vector<T> whole, out(n * p), transposed, piece(n);
    for (int q = 0; q < ranks; ++q) {
      const auto theirs = operand<T>(q, n), part = operand<T>(q, n, n * r);
      whole.insert(whole.end(), theirs.begin(), theirs.end());
      transposed.insert(transposed.end(), part.begin(), part.end());
    }
    comm::all_gather(group, mine, out);
    CHECK(same_bits(out, whole));
    out.assign(n * p, T{});
    std::copy(mine.begin(), mine.end(), out.begin() + std::ptrdiff_t(n * r));
    comm::all_gather(group, view<T>(out).subview(n * r, n), out);
    CHECK(same_bits(out, whole));
    out.assign(rank == root ? n * p : 0, T{});
    comm::gather(group, mine, out, root);
    CHECK(same_bits(out, rank == root ? whole : std::vector<T>{}));
    comm::scatter(group, out, piece, root);
    CHECK(same_bits(piece, mine));
    out.resize(n * p);
    comm::all_to_all(group, operand<T>(rank, n * p), out);
    CHECK(same_bits(out, transposed));

    std::vector<std::size_t> counts;
    std::vector<T> uneven;
    for (std::size_t q = 0; q < p; ++q) {
      counts.push_back(n * (q % 3) / 2);
      const auto theirs = operand<T>(int(q), counts.back());
      uneven.insert(uneven.end(), theirs.begin(), theirs.end());
    }
    out.assign(uneven.size(), T{});
    comm::all_gather_v(group, operand<T>(rank, counts[r]), out, counts);
    CHECK(same_bits(out, uneven));
  }
}

// A random collective in flight: what it must give is known when it is started.
struct flight {
  comm::pending<comm::mpi> request;
  std::vector<float> in, out, expected;
};
std::unique_ptr<flight> take_off(comm::mpi& group, std::mt19937& same_everywhere) {
  constexpr std::size_t sizes[] = {0, 1, 100, 5000, 20011, 150001};
  const std::size_t n = sizes[same_everywhere() % 6], p = std::size_t(group.size()), r = std::size_t(group.rank());
  auto f = std::make_unique<flight>();
  const auto kind = same_everywhere() % 5;
  if (kind == 0) {
    f->in = operand<float>(group.rank(), n), f->out.resize(n), f->expected = in_rank_order<float, comm::sum>(group.size(), n);
    f->request = comm::start_all_reduce(group, f->in, f->out);
  } else if (kind == 1) {
    const auto all = in_rank_order<float, comm::sum>(group.size(), n * p);
    f->in = operand<float>(group.rank(), n * p), f->out.resize(n);
    f->expected.assign(all.begin() + std::ptrdiff_t(n * r), all.begin() + std::ptrdiff_t(n * (r + 1)));
    f->request = comm::start_reduce_scatter(group, f->in, f->out);
  } else if (kind == 2) {
    f->in = operand<float>(group.rank(), n), f->out.resize(n * p);
    for (int q = 0; q < group.size(); ++q) {
      const auto theirs = operand<float>(q, n);
      f->expected.insert(f->expected.end(), theirs.begin(), theirs.end());
    }
    f->request = comm::start_all_gather(group, f->in, f->out);
  } else if (kind == 3) {
    const int root = int(n) % group.size();
    f->out = group.rank() == root ? operand<float>(root, n) : std::vector<float>(n);
    f->expected = operand<float>(root, n);
    f->request = comm::start_broadcast(group, f->out, root);
  } else {
    f->request = comm::start_barrier(group);
  }
  return f;
}
void land(std::vector<std::unique_ptr<flight>>& all, std::mt19937& own) {
  std::shuffle(all.begin(), all.end(), own);
  for (auto& f : all) {
    for (auto tests = own() % 4; tests > 0; --tests) static_cast<void>(f->request.test());
    f->request.wait();
    CHECK(same_bits(f->out, f->expected));
  }
  all.clear();
}

// The whole matrix for operands in arenas, of which those of the ranks where `outside` says so are ordinary memory instead.
void check_arenas(comm::mpi& group, bool outside) {
  const int rank = group.rank(), ranks = group.size();
  const auto p = std::size_t(ranks), r = std::size_t(rank);
  const std::size_t most = 150001;
  auto a = group.allocate<float>(most * p + 7), b = group.allocate<float>(most * p + std::size_t(rank));
  CHECK(a.is_shared() == (ranks > 1));
  CHECK(std::all_of(a.view().begin(), a.view().end(), [](float x) { return x == 0; }));
  std::vector<float> plain_in(most * p), plain_out(most * p);
  const view<float> in_space = outside ? view<float>(plain_in) : a.view().subview(3, most * p), out_space = outside ? view<float>(plain_out) : b.view();
  for (const std::size_t n : {std::size_t{0}, std::size_t{100}, std::size_t{8193}, std::size_t{70001}, most}) {
    CAPTURE(n, outside);
    const auto fill = [&](const std::vector<float>& from) { std::copy(from.begin(), from.end(), in_space.begin()); };
    const auto in = in_space.subview(0, n), out = out_space.subview(0, n), longer_in = in_space.subview(0, n * p), longer_out = out_space.subview(0, n * p);
    const auto expected = in_rank_order<float, comm::sum>(ranks, n);
    fill(operand<float>(rank, n));
    comm::all_reduce(group, in, out);
    CHECK(same_bits(out.data(), expected));
    comm::all_reduce(group, in);
    CHECK(same_bits(in.data(), expected));
    std::vector<float> elsewhere(n * p);
    fill(operand<float>(rank, n));
    comm::all_reduce(group, in, view<float>(elsewhere).subview(0, n));
    CHECK(same_bits(elsewhere.data(), expected));

    const auto all = in_rank_order<float, comm::sum>(ranks, n * p);
    const std::vector<float> piece(all.begin() + std::ptrdiff_t(n * r), all.begin() + std::ptrdiff_t(n * (r + 1)));
    fill(operand<float>(rank, n * p));
    comm::reduce_scatter(group, longer_in, out);
    CHECK(same_bits(out.data(), piece));
    comm::reduce_scatter(group, longer_in, longer_in.subview(n * r, n));
    CHECK(same_bits(longer_in.data() + n * r, piece));

    std::vector<float> whole;
    for (int q = 0; q < ranks; ++q) {
      const auto theirs = operand<float>(q, n);
      whole.insert(whole.end(), theirs.begin(), theirs.end());
    }
    fill(operand<float>(rank, n));
    comm::all_gather(group, in, longer_out);
    CHECK(same_bits(longer_out.data(), whole));
    comm::all_gather(group, in, elsewhere);
    CHECK(same_bits(elsewhere, whole));
    for (int root = 0; root < ranks; ++root) {
      fill(operand<float>(rank, n));
      comm::broadcast(group, in, root);
      CHECK(same_bits(in.data(), operand<float>(root, n)));
    }
  }
}

template <class Wrong, class Right>
std::string message_of_disagreement(Wrong wrong, Right right) {
  comm::mpi group{tests::world().native_handle()};  // it is broken afterwards
  std::string text;
  try {
    comm::barrier(group);
    if (group.rank() == group.size() - 1) wrong(group);
    else right(group);
  } catch (const communication_error& e) {
    text = e.what();
  }
  CHECK_THROWS_AS(group.start_barrier(), communication_error);
  return text;
}

}  // namespace

TEST_CASE("ranks on one node share memory") {
  auto& world = tests::world();
  CHECK(world.shares_memory() == (world.size() > 1));
  CHECK(world.native_name(comm::collective::all_reduce, 1 << 20) == (world.size() > 1 ? "shared memory" : "MPI_Iallreduce"));
  CHECK(world.native_name(comm::collective::all_to_all_v, 8) == "MPI_Isend and MPI_Irecv");
}

TEST_CASE("reductions have the bits of the rank order, for every length") {
  check_reductions<float, comm::sum>(tests::world());
  check_reductions<affine, compose>(tests::world());
  check_reductions<bfloat16, comm::sum>(tests::world());
  check_reductions<triple, larger>(tests::world());
}

TEST_CASE("copies of every length") {
  check_copies<float>(tests::world());
  check_copies<triple>(tests::world());
}

TEST_CASE("elements too large for a slot go by MPI") {
  auto& world = tests::world();
  using block = std::array<std::int32_t, 200'000>;
  auto data = std::make_unique<std::array<block, 1>>();
  (*data)[0].fill(world.rank() == 0 ? 7 : 0);
  comm::broadcast(world, *data, 0);
  CHECK((*data)[0][199'999] == 7);
}

TEST_CASE("operations of one group complete in any order of waiting") {
  auto& world = tests::world();
  std::mt19937 same(1), own(std::uint32_t(world.rank()) + 2);
  std::vector<std::unique_ptr<flight>> flights;
  for (int round = 0; round < 10; ++round) {
    for (int k = 0; k < 9; ++k) flights.push_back(take_off(world, same));
    land(flights, own);
  }
}

TEST_CASE("operations of several groups at once") {
  auto& world = tests::world();
  auto part = world.split(world.rank() % 2, world.rank());
  auto other = world.split(world.rank() / 2, -world.rank());
  std::mt19937 same(5), own(std::uint32_t(world.rank()) + 9);
  std::vector<std::unique_ptr<flight>> flights;
  for (int round = 0; round < 8; ++round) {
    for (int k = 0; k < 4; ++k)
      for (comm::mpi* group : {&world, &part, &other}) flights.push_back(take_off(*group, same));
    land(flights, own);
  }
}

TEST_CASE("messages and collectives wait for each other") {
  auto& world = tests::world();
  const int next = (world.rank() + 1) % world.size(), last = (world.rank() + world.size() - 1) % world.size();
  const std::size_t n = 1'000'000;
  std::vector<float> a(n, float(world.rank())), got(n), sums(n);
  for (const bool messages_first : {true, false}) {
    auto receive = world.start_receive(view<float>(got), last, 1);
    auto send = world.start_send(view<const float>(a), next, 1);
    auto total = comm::start_all_reduce(world, a, sums);
    if (messages_first == (world.rank() % 2 == 0)) send.wait(), receive.wait(), total.wait();
    else total.wait(), receive.wait(), send.wait();
    CHECK(got == std::vector<float>(n, float(last)));
    CHECK(sums[n - 1] == float(world.size() * (world.size() - 1) / 2));
  }
}

TEST_CASE("operands in arenas") {
  auto& world = tests::world();
  check_arenas(world, false);
  check_arenas(world, world.rank() == world.size() - 1);
  check_arenas(world, true);
  auto part = world.split(world.rank() % 2, 0);
  check_arenas(part, false);
}

TEST_CASE("arenas come and go while others stay") {
  auto& world = tests::world();
  auto first = world.allocate<double>(50'000);
  {
    auto second = world.allocate<double>(10'000);
    second = world.allocate<double>(20'000);
    std::fill(second.view().begin(), second.view().end(), 1.0);
    comm::all_reduce(world, second.view());
    CHECK(second.view()[19'999] == double(world.size()));
  }
  std::fill(first.view().begin(), first.view().end(), 2.0);
  auto request = comm::start_all_reduce(world, first.view());
  request.wait();
  CHECK(first.view()[49'999] == 2.0 * world.size());
}

TEST_CASE("nothing is allocated once every shape was seen") {
  auto& world = tests::world();
  if (world.size() == 1) return;
  std::vector<float> small(100), large(300'000), whole(300'000 * std::size_t(world.size()));
  const auto step = [&] {
    auto r1 = comm::start_all_reduce(world, large), r2 = comm::start_all_reduce(world, small);
    auto r3 = comm::start_all_gather(world, large, whole);
    r2.wait(), r1.wait(), r3.wait();
    comm::reduce_scatter(world, whole, large);
    comm::broadcast(world, large);
    comm::barrier(world);
  };
  step();
  test::allocations = 0, test::counting = true;
  for (int i = 0; i < 5; ++i) step();
  test::counting = false;
  CHECK(test::allocations == 0);
}

TEST_CASE("ranks that disagree are named in shared memory") {
  const int ranks = tests::world().size();
  if (ranks == 1) return;
  std::vector<float> a(10'000), b(11'000);
  std::vector<double> d(10'000);
  const auto usual = [&](comm::mpi& g) { comm::all_reduce(g, a); };
  const std::string first = "all_reduce of 10000 f32 with sum (rank ", odd = " (rank " + std::to_string(ranks - 1) + ")";
  const auto check = [&](auto wrong, const std::string& words) {
    const auto text = message_of_disagreement(wrong, usual);
    CAPTURE(text);
    CHECK(text.find("comm::mpi rank " + std::to_string(tests::world().rank())) == 0);
    CHECK(text.find("collective 1 of the group: two ranks do not call the same") != std::string::npos);
    CHECK(text.find(first) != std::string::npos);
    CHECK(text.find(words + odd) != std::string::npos);
  };
  check([&](comm::mpi& g) { comm::all_reduce(g, b); }, "all_reduce of 11000 f32 with sum");
  check([&](comm::mpi& g) { comm::all_reduce(g, d); }, "all_reduce of 10000 f64 with sum");
  check([&](comm::mpi& g) { comm::all_reduce(g, a, comm::maximum{}); }, "all_reduce of 10000 f32 with maximum");
  check([&](comm::mpi& g) { comm::broadcast(g, a, 1); }, "broadcast of 10000 f32 at root 1");
  check([&](comm::mpi& g) { comm::barrier(g); }, "barrier");
  const auto roots = message_of_disagreement([&](comm::mpi& g) { comm::broadcast(g, a, 1); }, [&](comm::mpi& g) { comm::broadcast(g, a, 0); });
  CHECK(roots.find("broadcast of 10000 f32 at root 0") != std::string::npos);
  CHECK(roots.find("broadcast of 10000 f32 at root 1") != std::string::npos);
  comm::barrier(tests::world());
}
