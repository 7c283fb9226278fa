// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <entrain/compress/error_feedback.hpp>
#include <entrain/compress/top_k.hpp>
#include <entrain/testing/compressor_laws.hpp>

// A law that cannot fail is worthless: for each law, compressors that break it and nothing else, and the law must be named.

using namespace entrain;
using compress::block;
using compress::context;
using compress::payload_kind;
using compress::sparse_entry;

namespace {

constexpr random_stream stream_of(const context& where) { return random_stream(where.seed, purpose::compress, where.block * 4096 + where.rank, where.step); }

// What the broken ones are made from: values travel as they are.
struct plain {
  using slot_type = slot::compression;
  static constexpr payload_kind payload = payload_kind::gatherable;
  template <class T>
  using wire_type = T;
  template <class T>
  std::size_t wire_count(std::size_t n) const { return n; }
  template <class T>
  compress::no_state make_state(std::size_t) const { return {}; }
  template <class T>
  void encode(auto&, const context&, std::span<T> values, std::span<T> wire) const { std::copy(values.begin(), values.end(), wire.begin()); }
  template <class T>
  void decode_add(const context&, std::span<const T> wire, std::span<T> values, T scale) const {
    for (std::size_t i = 0; i < wire.size(); ++i) values[i] += scale * wire[i];
  }
};

// One in two values travels, doubled: unbiased. Inherited from to be broken.
struct halved : plain {
  static constexpr bool unbiased = true;
  template <class T>
  void encode(auto&, const context& where, std::span<T> values, std::span<T> wire) const {
    const auto random = stream_of(where);
    for (std::size_t i = 0; i < values.size(); ++i) wire[i] = random.uniform(i) < 0.5f ? T(2) * values[i] : T(0);
  }
};

struct writes_behind_wire : plain {
  template <class T>
  void encode(auto&, const context&, std::span<T> values, std::span<T> wire) const {
    for (std::size_t i = 0; i < values.size(); ++i) wire[i] = values[i];
    if (values.size() == 17) wire.data()[17] = T(1);
  }
};
struct writes_before_wire : plain {
  template <class T>
  void encode(auto& s, const context& where, std::span<T> values, std::span<T> wire) const {
    plain::encode(s, where, values, wire);
    if (!wire.empty()) wire.data()[-1] = T(0);
  }
};
struct writes_behind_values : plain {
  template <class T>
  void encode(auto& s, const context& where, std::span<T> values, std::span<T> wire) const {
    plain::encode(s, where, values, wire);
    values.data()[values.size()] = T(0);
  }
};
struct decodes_beyond_values : plain {
  template <class T>
  void decode_add(const context& where, std::span<const T> wire, std::span<T> values, T scale) const {
    plain::decode_add(where, wire, values, scale);
    values.data()[values.size()] = T(0);
  }
};
struct leaves_a_hole : plain {
  template <class T>
  void encode(auto&, const context&, std::span<T> values, std::span<T> wire) const {
    for (std::size_t i = 0; i < values.size(); ++i)
      if (values[i] != T(0) || i % 5 != 4) wire[i] = values[i];
  }
};
// Keeps the first half, and says that it has filled more, or less, than it has.
template <int Off>
struct miscounts : plain {
  static constexpr bool variable = true;
  template <class T>
  std::size_t encode(auto&, const context&, std::span<T> values, std::span<T> wire) const {
    const std::size_t kept = values.size() / 2;
    std::copy_n(values.begin(), kept, wire.begin());
    return values.size() < 100 ? kept : kept + std::size_t(Off);
  }
};
struct returns_too_much : plain {
  static constexpr bool variable = true;
  template <class T>
  std::size_t encode(auto& s, const context& where, std::span<T> values, std::span<T> wire) const {
    plain::encode(s, where, values, wire);
    return wire.size() + (wire.size() == 3);
  }
};
struct reads_on : plain {
  template <class T>
  void decode_add(const context&, std::span<const T> wire, std::span<T> values, T scale) const {
    for (std::size_t i = 0; i < wire.size(); ++i) values[i] += scale * wire[i] + (i + 1 == wire.size() && wire.data()[i + 1] != T(0) ? T(1) : T(0));
  }
};
struct forgets_to_be_repeatable : plain {
  int* calls;
  template <class T>
  void encode(auto& s, const context& where, std::span<T> values, std::span<T> wire) const {
    plain::encode(s, where, values, wire);
    if (!wire.empty()) wire[0] *= ++*calls % 2 == 0 ? T(1) : T(0.5);
  }
};
struct grows : plain {
  std::size_t* calls;
  template <class T>
  std::size_t wire_count(std::size_t n) const { return n + ++*calls; }
};
struct overwrites : plain {
  template <class T>
  void decode_add(const context&, std::span<const T> wire, std::span<T> values, T scale) const {
    for (std::size_t i = 0; i < wire.size(); ++i) values[i] = scale * wire[i];
  }
};
struct ignores_scale : plain {
  template <class T>
  void decode_add(const context& where, std::span<const T> wire, std::span<T> values, T) const { plain::decode_add(where, wire, values, T(1)); }
};

struct not_lossless : plain {
  static constexpr bool lossless = true;
  template <class T>
  void encode(auto&, const context&, std::span<T> values, std::span<T> wire) const {
    for (std::size_t i = 0; i < values.size(); ++i) wire[i] = std::abs(values[i]) < T(1e-3) ? T(0) : values[i];
  }
};
struct not_positional : plain {
  static constexpr bool positional = true;
  template <class T>
  void encode(auto&, const context&, std::span<T> values, std::span<T> wire) const { std::copy(values.rbegin(), values.rend(), wire.begin()); }
  template <class T>
  void decode_add(const context&, std::span<const T> wire, std::span<T> values, T scale) const {
    for (std::size_t i = 0; i < wire.size(); ++i) values[i] += scale * wire[wire.size() - 1 - i];
  }
};
struct too_long_for_positional : plain {
  static constexpr bool positional = true;
  template <class T>
  std::size_t wire_count(std::size_t n) const { return n + n % 2; }
  template <class T>
  void encode(auto&, const context&, std::span<T> values, std::span<T> wire) const {
    std::fill(wire.begin(), wire.end(), T(0));
    std::copy(values.begin(), values.end(), wire.begin());
  }
  template <class T>
  void decode_add(const context& where, std::span<const T> wire, std::span<T> values, T scale) const { plain::decode_add(where, wire.first(std::min(wire.size(), values.size())), values, scale); }
};
struct not_summable : plain {
  static constexpr payload_kind payload = payload_kind::summable;
  template <class T>
  void encode(auto&, const context&, std::span<T> values, std::span<T> wire) const {
    for (std::size_t i = 0; i < values.size(); ++i) wire[i] = std::cbrt(values[i]);
  }
  template <class T>
  void decode_add(const context&, std::span<const T> wire, std::span<T> values, T scale) const {
    for (std::size_t i = 0; i < wire.size(); ++i) values[i] += scale * (wire[i] * wire[i] * wire[i]);
  }
  double contraction(const block&) const { return 0.5; }
};
struct not_summable_but_says_so : not_summable {
  static constexpr bool linear_decode = false;
};
// Half of the values travel, chosen by each rank for itself: their sum means nothing.
struct own_choice : plain {
  static constexpr payload_kind payload = payload_kind::summable;
  template <class T>
  std::size_t wire_count(std::size_t n) const { return n / 2; }
  template <class T>
  void encode(auto&, const context& where, std::span<T> values, std::span<T> wire) const {
    for (std::size_t i = 0; i < wire.size(); ++i) wire[i] = values[2 * i + (stream_of(where).bits(i) & 1)];
  }
  template <class T>
  void decode_add(const context& where, std::span<const T> wire, std::span<T> values, T scale) const {
    for (std::size_t i = 0; i < wire.size(); ++i) values[2 * i + (stream_of(where).bits(i) & 1)] += scale * wire[i];
  }
};
// Ranks send prefixes of different lengths.
struct own_length : plain {
  static constexpr payload_kind payload = payload_kind::summable;
  static constexpr bool variable = true;
  template <class T>
  std::size_t encode(auto&, const context& where, std::span<T> values, std::span<T> wire) const {
    const std::size_t kept = values.size() / (where.rank + 1);
    std::copy_n(values.begin(), kept, wire.begin());
    return kept;
  }
};

struct offset : plain {
  template <class T>
  void decode_add(const context& where, std::span<const T> wire, std::span<T> values, T scale) const {
    plain::decode_add(where, wire, values, scale);
    for (T& v : values) v += scale * T(1e-7);
  }
};
struct divides_by_norm : plain {
  template <class T>
  void encode(auto&, const context&, std::span<T> values, std::span<T> wire) const {
    T squares = 0;
    for (const T v : values) squares += v * v;
    for (std::size_t i = 0; i < values.size(); ++i) wire[i] = values[i] / std::sqrt(squares) * std::sqrt(squares);
  }
};
struct amplifies : plain {
  template <class T>
  void encode(auto&, const context&, std::span<T> values, std::span<T> wire) const {
    for (std::size_t i = 0; i < values.size(); ++i) wire[i] = T(2.1) * values[i];
  }
};

struct overstated_top_k : compress::top_k {
  double contraction(const block& b) const { return b.count == 0 ? 1 : 0.9; }
};
struct impossible_contraction : plain {
  double contraction(const block&) const { return 1.5; }
};
// Half of the values at random: delta is 1/2, and 0.52 is claimed.
struct overstated_random_half : plain {
  double claim = 0.52;
  double contraction(const block&) const { return claim; }
  template <class T>
  void encode(auto&, const context& where, std::span<T> values, std::span<T> wire) const {
    for (std::size_t i = 0; i < values.size(); ++i) wire[i] = stream_of(where).uniform(i) < 0.5f ? values[i] : T(0);
  }
};

struct scaled_wrong : halved {
  template <class T>
  void decode_add(const context& where, std::span<const T> wire, std::span<T> values, T scale) const { plain::decode_add(where, wire, values, T(0.95) * scale); }
};
struct drops_small : halved {
  template <class T>
  void encode(auto& s, const context& where, std::span<T> values, std::span<T> wire) const {
    halved::encode(s, where, values, wire);
    for (std::size_t i = 0; i < values.size(); ++i)
      if (std::abs(values[i]) < T(0.4)) wire[i] = T(0);
  }
};
struct forgets_element : halved {
  template <class T>
  void encode(auto& s, const context& where, std::span<T> values, std::span<T> wire) const {
    halved::encode(s, where, values, wire);
    if (wire.size() > 13) wire[13] = T(0);
  }
};
struct top_k_unbiased : compress::top_k {
  static constexpr bool unbiased = true;
};
// Random numbers that do not know the step, the block or the rank.
template <int Forgets>
struct same_noise : halved {
  template <class T>
  void encode(auto& s, const context& where, std::span<T> values, std::span<T> wire) const {
    context key = where;
    (Forgets == 0 ? void(key.step = 0) : Forgets == 1 ? void(key.block = 0) : void(key.rank = 0));
    halved::encode(s, key, values, wire);
  }
};
struct same_noise_as_it_should_be : same_noise<2> {
  static constexpr bool shared_seed = true;
};

// Sparse payloads, spoilt after the fact.
template <class Spoil>
struct sparse_but : compress::top_k {
  sparse_but() : compress::top_k{.ratio = 0.5} {}
  static constexpr bool unbiased = false;
  template <class T>
  void encode(auto& s, const context& where, std::span<T> values, std::span<sparse_entry<T>> wire) const {
    top_k::encode(s, where, values, wire);
    if (wire.size() > 4) Spoil{}(wire, values.size());
  }
  template <class T>
  void decode_add(const context& where, std::span<const sparse_entry<T>> wire, std::span<T> values, T scale) const {
    for (const auto& e : wire)
      if (e.index < values.size()) values[e.index] += scale * e.value;
    (void)where;
  }
};
struct twice {
  void operator()(auto wire, std::size_t) const { wire[3].index = wire[2].index, wire[3].value = 0; }
};
struct backwards {
  void operator()(auto wire, std::size_t) const { std::swap(wire[1], wire[3]); }
};
struct beyond {
  void operator()(auto wire, std::size_t n) const { wire.back().index = std::uint32_t(n), wire.back().value = 0; }
};
struct backwards_as_said : sparse_but<backwards> {
  static constexpr bool ascending = false;
};

// A residual of which something is lost, or that visitors do not see.
template <bool Visible>
struct leaky : plain {
  double lost;
  explicit leaky(double share) : lost(share) {}
  template <class T>
  struct state {
    buffer<T> residual;
    void visit(auto&& visitor) {
      if constexpr (Visible) visitor("residual", residual.span());
    }
  };
  template <class T>
  state<T> make_state(std::size_t n) const { return {buffer<T>(n)}; }
  template <class T>
  void encode(state<T>& s, const context&, std::span<T> values, std::span<T> wire) const {
    for (std::size_t i = 0; i < values.size(); ++i) {
      const T all = values[i] + s.residual[i];
      wire[i] = T(0.5) * all;
      s.residual[i] = T(1 - lost) * (all - wire[i]);
    }
  }
};

// Each part's sum in two phases; Break says what goes wrong.
enum class wrong { nothing, ranks_differ, random, zeros };
template <wrong Break>
struct phased {
  using slot_type = slot::compression;
  static constexpr payload_kind payload = payload_kind::two_phase;
  template <class T>
  using wire_type = T;
  template <class T>
  std::size_t wire_count(std::size_t n) const { return n; }
  template <class T>
  std::size_t part_count(std::size_t n) const { return n; }
  template <class T>
  compress::no_state make_state(std::size_t) const { return {}; }
  template <class T>
  void encode_parts(auto&, const context&, std::span<T> values, std::size_t, std::span<T> wire) const {
    std::copy(values.begin(), values.end(), wire.begin());
    if (Break != wrong::random) std::fill(wire.begin() + std::ptrdiff_t(values.size()), wire.end(), T(0));
  }
  template <class T>
  void combine(auto&, const context& where, std::span<const T> arrived, std::size_t, std::span<T> wire) const {
    std::fill(wire.begin(), wire.end(), T(Break == wrong::zeros ? 1 : 0));
    for (std::size_t i = 0; i < arrived.size(); ++i) wire[i % wire.size()] += arrived[i];
    (void)where;
  }
  template <class T>
  void decode_add(const context&, std::span<const T> wire, std::span<T> values, T scale) const {
    for (std::size_t i = 0; i < values.size(); ++i) values[i] += scale * (wire[i] + (Break == wrong::random && wire.back() != T(0) ? wire.back() : T(0)));
  }
};

// The sum in one round; with ranks_differ every rank makes something else of it.
template <wrong Break>
struct in_one_round {
  using slot_type = slot::compression;
  static constexpr payload_kind payload = payload_kind::rounds;
  static constexpr int rounds = 1;
  template <class T>
  using wire_type = T;
  template <class T>
  std::size_t wire_count(std::size_t n) const { return n; }
  template <class T>
  std::size_t round_count(const block& b, int) const { return b.count; }
  template <class T>
  compress::no_state make_state(std::size_t) const { return {}; }
  template <class T>
  void round(auto&, const context&, int, std::span<T> values, std::span<const T>, std::span<T> wire) const { std::copy(values.begin(), values.end(), wire.begin()); }
  template <class T>
  void finish(auto&, const context& where, std::span<const T> summed, std::span<T> values) const {
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = summed[i] * T(Break == wrong::ranks_differ ? 1 + where.rank : 1);
  }
};

template <class T = double, class C>
std::string broken_law(const C& c) {
  try {
    testing::check_compressor<T>(c);
  } catch (const error& e) {
    return e.what();
  }
  return "none";
}
template <class C>
std::string broken_identity(const C& c) {
  try {
    testing::check_error_feedback<double>(c);
  } catch (const error& e) {
    return e.what();
  }
  return "none";
}
using Catch::Matchers::Contains;

}  // namespace

TEST_CASE("what the broken compressors are made from keeps the laws", "[compress]") {
  CHECK(broken_law(plain{}) == "none");
  CHECK(broken_law(halved{}) == "none");
  CHECK(broken_law<float>(halved{}) == "none");
  CHECK(broken_law(miscounts<0>{}) == "none");
  CHECK(broken_law(overstated_random_half{{}, 0.5}) == "none");
  CHECK(broken_law(not_summable_but_says_so{}) == "none");
  CHECK(broken_law(same_noise_as_it_should_be{}) == "none");
  CHECK(broken_law(backwards_as_said{}) == "none");
  CHECK(broken_law(phased<wrong::nothing>{}) == "none");
  CHECK(broken_law(in_one_round<wrong::nothing>{}) == "none");
  CHECK(broken_law(leaky<true>(0)) == "none");
  CHECK(broken_identity(leaky<true>(0)) == "none");
}

TEST_CASE("laws of sizes and memory catch what breaks them", "[compress]") {
  std::size_t calls = 0;
  int odd = 0;
  CHECK_THAT(broken_law(grows{{}, &calls}), Contains("wire_count is a function of the block"));
  CHECK_THAT(broken_law(writes_behind_wire{}), Contains("memory alone around what it fills"));
  CHECK_THAT(broken_law(writes_before_wire{}), Contains("memory alone around what it fills"));
  CHECK_THAT(broken_law(writes_behind_values{}), Contains("encode leaves memory alone around the values"));
  CHECK_THAT(broken_law(decodes_beyond_values{}), Contains("decode_add leaves memory alone around the values"));
  CHECK_THAT(broken_law(leaves_a_hole{}), Contains("encode fills everything"));
  CHECK_THAT(broken_law(miscounts<1>{}), Contains("encode fills everything"));
  CHECK_THAT(broken_law(miscounts<-1>{}), Contains("memory alone around what it fills"));
  CHECK_THAT(broken_law(returns_too_much{}), Contains("at most wire_count"));
  CHECK_THAT(broken_law(reads_on{}), Contains("reads the filled elements and no others"));
  CHECK_THAT(broken_law(forgets_to_be_repeatable{{}, &odd}), Contains("repeatable"));
}

TEST_CASE("laws of decoding and sums catch what breaks them", "[compress]") {
  CHECK_THAT(broken_law(overwrites{}), Contains("scale * decoded"));
  CHECK_THAT(broken_law(ignores_scale{}), Contains("scale * decoded"));
  CHECK_THAT(broken_law(not_lossless{}), Contains("lossless"));
  CHECK_THAT(broken_law(not_positional{}), Contains("stretch of the wire decodes alone"));
  CHECK_THAT(broken_law(too_long_for_positional{}), Contains("one wire element a value"));
  CHECK_THAT(broken_law(not_summable{}), Contains("the sum of encodings"));
  CHECK_THAT(broken_law(own_choice{}), Contains("does not depend on the rank"));
  CHECK_THAT(broken_law(own_length{}), Contains("as many wire elements on every rank"));
  CHECK_THAT(broken_law(sparse_but<twice>{}), Contains("ascending indices") || Contains("distinct indices"));
  CHECK_THAT(broken_law(sparse_but<backwards>{}), Contains("ascending indices"));
  CHECK_THAT(broken_law(sparse_but<beyond>{}), Contains("indices in range"));
}

TEST_CASE("laws of errors catch what breaks them", "[compress]") {
  CHECK_THAT(broken_law(offset{}), Contains("zeros decode to zeros"));
  CHECK_THAT(broken_law(divides_by_norm{}), Contains("finite results"));
  CHECK_THAT(broken_law(amplifies{}), Contains("at most the norm"));
  CHECK_THAT(broken_law(overstated_top_k{}), Contains("stated contraction"));
  CHECK_THAT(broken_law(impossible_contraction{}), Contains("delta is at most 1"));
  CHECK_THAT(broken_law(overstated_random_half{}), Contains("stated contraction"));
}

TEST_CASE("laws of means catch what breaks them", "[compress]") {
  CHECK_THAT(broken_law(scaled_wrong{}), Contains("unbiased"));
  CHECK_THAT(broken_law(drops_small{}), Contains("unbiased"));
  CHECK_THAT(broken_law(forgets_element{}), Contains("unbiased"));
  CHECK_THAT(broken_law(top_k_unbiased{}), Contains("unbiased"));
  CHECK_THAT(broken_law(same_noise<0>{}), Contains("different steps"));
  CHECK_THAT(broken_law(same_noise<1>{}), Contains("different blocks"));
  CHECK_THAT(broken_law(same_noise<2>{}), Contains("different ranks"));
}

TEST_CASE("laws of states and of several phases catch what breaks them", "[compress]") {
  CHECK_THAT(broken_law(leaky<false>(0)), Contains("a restored state goes on"));
  CHECK_THAT(broken_identity(leaky<true>(1e-6)), Contains("error feedback identity"));
  CHECK_THAT(broken_identity(leaky<false>(0)), Contains("shows its 'residual'"));
  CHECK_THAT(broken_law(phased<wrong::random>{}), Contains("repeatable") || Contains("finite"));
  CHECK_THAT(broken_law(phased<wrong::zeros>{}), Contains("zeros decode to zeros"));
  CHECK_THAT(broken_law(in_one_round<wrong::ranks_differ>{}), Contains("all ranks get the same sum"));
}

// How often would a compressor that keeps the law be rejected? Fresh inputs and seeds for a mean of few rare events: never in 200 runs
// (the stated bound is one in a million).
TEST_CASE("means of rare events are not rejected by chance", "[compress]") {
  const random_stream random(5, purpose::user, 9);
  for (int run = 0; run < 200; ++run) {
    testing::detail::sampled_mean m;
    for (int d = 0; d < 400; ++d) m.add((random.uniform(std::uint64_t(run * 400 + d)) < 0.02f ? 50.0 : 0.0) - 1.0);
    CHECK(std::abs(m.mean()) <= m.allowance(testing::detail::level(72)));
  }
}
