// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include <entrain/compress/concepts.hpp>
#include <entrain/core/describe.hpp>
#include <entrain/core/error.hpp>
#include <entrain/core/memory.hpp>

// Compressors one after another: what a sparsifier selects, a quantiser encodes, and indices are packed.
//
//   compress::error_feedback{compress::chain{compress::top_k{.ratio = 0.01}, compress::qsgd{.levels = 7}, compress::delta_indices{}}}
//
// Payload: gathered bytes, of a length that depends on the data (no longer sparse: what is quantised cannot be merged on its way).
// Wire of a block: 4 bytes for the number of entries k, the indices, the quantiser's wire of k values. Indices of a block of d values:
//   plain_indices   4 k bytes
//   packed_indices  ceil(k ceil(log2 d) / 8) bytes
//   delta_indices   gaps between ascending indices, 7 bits a byte: 1 byte each while they are below 128 (the default)
//
// Bias and error are those of both together: biased, so error_feedback goes around it. Memory: the states, and k entries.
// Errors: communication_error when what arrives is no encoding of such a block.

namespace entrain::compress {

struct plain_indices {
  static constexpr bool ascending = false;
  static constexpr std::string_view name = "plain_indices";
  static std::size_t most_bytes(std::size_t k, std::size_t) { return 4 * k; }
  // Writes index number i; `at` is where the next byte goes.
  struct writer {
    std::uint8_t* at;
    explicit writer(std::uint8_t* to, std::size_t) : at(to) {}
    void put(std::uint32_t index) { std::memcpy(at, &index, 4), at += 4; }
    std::uint8_t* end() { return at; }
  };
  struct reader {
    const std::uint8_t *at, *last;
    reader(std::span<const std::uint8_t> from, std::size_t) : at(from.data()), last(from.data() + from.size()) {}
    bool get(std::uint32_t& index) {
      if (last - at < 4) return false;
      std::memcpy(&index, at, 4), at += 4;
      return true;
    }
    const std::uint8_t* end() { return at; }
  };
  friend bool operator==(const plain_indices&, const plain_indices&) = default;
};

struct packed_indices {
  static constexpr bool ascending = false;
  static constexpr std::string_view name = "packed_indices";
  static int bits(std::size_t d) { return d > 1 ? std::bit_width(d - 1) : 0; }
  static std::size_t most_bytes(std::size_t k, std::size_t d) { return (k * std::size_t(bits(d)) + 7) / 8; }
  struct writer {
    std::uint8_t* at;
    int width, waiting = 0;
    std::uint64_t word = 0;
    writer(std::uint8_t* to, std::size_t d) : at(to), width(bits(d)) {}
    void put(std::uint32_t index) {
      word |= std::uint64_t(index) << waiting;
      for (waiting += width; waiting >= 8; waiting -= 8) *at++ = std::uint8_t(word), word >>= 8;
    }
    std::uint8_t* end() {
      if (waiting > 0) *at++ = std::uint8_t(word);
      return at;
    }
  };
  struct reader {
    const std::uint8_t *at, *last;
    int width, waiting = 0;
    std::uint64_t word = 0;
    reader(std::span<const std::uint8_t> from, std::size_t d) : at(from.data()), last(from.data() + from.size()), width(bits(d)) {}
    bool get(std::uint32_t& index) {
      for (; waiting < width; waiting += 8) {
        if (at == last) return false;
        word |= std::uint64_t(*at++) << waiting;
      }
      index = std::uint32_t(word & ((std::uint64_t(1) << width) - 1));
      word >>= width, waiting -= width;
      return true;
    }
    const std::uint8_t* end() { return at; }
  };
  friend bool operator==(const packed_indices&, const packed_indices&) = default;
};

struct delta_indices {
  static constexpr bool ascending = true;  // needs them so
  static constexpr std::string_view name = "delta_indices";
  static std::size_t most_bytes(std::size_t k, std::size_t d) {
    const std::size_t longest = d > 1 ? (std::size_t(std::bit_width(d - 1)) + 6) / 7 : 1;
    return k * longest;
  }
  struct writer {
    std::uint8_t* at;
    std::uint32_t next = 0;  // the least that may follow
    writer(std::uint8_t* to, std::size_t) : at(to) {}
    void put(std::uint32_t index) {
      std::uint32_t gap = index - next;
      for (; gap >= 128; gap >>= 7) *at++ = std::uint8_t(gap | 128);
      *at++ = std::uint8_t(gap);
      next = index + 1;
    }
    std::uint8_t* end() { return at; }
  };
  struct reader {
    const std::uint8_t *at, *last;
    std::uint64_t next = 0;
    reader(std::span<const std::uint8_t> from, std::size_t) : at(from.data()), last(from.data() + from.size()) {}
    bool get(std::uint32_t& index) {
      std::uint64_t gap = 0;
      for (int shift = 0;; shift += 7) {
        if (at == last || shift > 28) return false;
        gap |= std::uint64_t(*at & 127) << shift;
        if (!(*at++ & 128)) break;
      }
      next += gap;
      if (next > 0xffffffffu) return false;
      index = std::uint32_t(next++);
      return true;
    }
    const std::uint8_t* end() { return at; }
  };
  friend bool operator==(const delta_indices&, const delta_indices&) = default;
};

template <class Sparsifier, class Quantiser, class Indices = delta_indices>
struct chain {
  using slot_type = slot::compression;
  static_assert(Sparsifier::payload == payload_kind::sparse,
                "compress::chain begins with what selects values and goes on with what encodes them: write compress::chain{compress::top_k{}, compress::qsgd{}}");
  static_assert(Quantiser::payload == payload_kind::gatherable || is_positional<Quantiser>,
                "the second link of compress::chain encodes the selected values: it must be a quantiser such as compress::qsgd, compress::sign or compress::cast");
  static_assert(!Indices::ascending || is_ascending<Sparsifier>,
                "compress::delta_indices needs ascending indices, which this sparsifier does not give: use compress::packed_indices in its place");
  static constexpr payload_kind payload = payload_kind::gatherable;
  static constexpr bool variable = true, selects = true;
  template <class T>
  using wire_type = std::uint8_t;

  Sparsifier sparsifier;
  Quantiser quantiser;
  Indices indices;

  constexpr chain(Sparsifier s, Quantiser q, Indices i = {}) : sparsifier(s), quantiser(q), indices(i) {}

  template <class T>
  struct state {
    state_of<Sparsifier, T> sparsifier;
    state_of<Quantiser, T> quantiser;
    buffer<wire_of<Sparsifier, T>> entries;
    buffer<T> values;
    buffer<wire_of<Quantiser, T>> codes;
    std::size_t count = 0;
    void visit(auto&& visitor) {
      sparsifier.visit(prefixed_visitor{"sparsifier", visitor});
      quantiser.visit(prefixed_visitor{"quantiser", visitor});
    }
  };

  template <class T>
  std::size_t wire_count(const block& b) const {
    if (b.count == 0) return 0;
    const std::size_t k = sparsifier.template wire_count<T>(b);
    return 4 + Indices::most_bytes(k, b.count) + sizeof(wire_of<Quantiser, T>) * quantiser.template wire_count<T>(block(k));
  }
  template <class T>
  state<T> make_state(const block& b) const {
    const std::size_t k = b.count == 0 ? 0 : sparsifier.template wire_count<T>(b);
    return {sparsifier.template make_state<T>(b), quantiser.template make_state<T>(block(k)), buffer<wire_of<Sparsifier, T>>(k), buffer<T>(k),
            buffer<wire_of<Quantiser, T>>(quantiser.template wire_count<T>(block(k)))};
  }

  template <class T>
  std::size_t encode(state<T>& s, const context& where, std::span<T> values, std::span<std::uint8_t> wire) const {
    if (values.empty()) return 0;
    const std::uint32_t k = std::uint32_t(encoded(sparsifier, s.sparsifier, where, values, s.entries.span()));
    std::memcpy(wire.data(), &k, 4);
    typename Indices::writer out(wire.data() + 4, values.size());
    for (std::size_t i = 0; i < k; ++i) out.put(s.entries[i].index), s.values[i] = s.entries[i].value;
    std::uint8_t* const end = out.end();
    const auto codes = s.codes.span().first(quantiser.template wire_count<T>(block(k)));
    const std::size_t filled = encoded(quantiser, s.quantiser, second(where), s.values.span().first(k), codes);
    if (filled > 0) std::memcpy(end, codes.data(), filled * sizeof(codes[0]));
    return std::size_t(end - wire.data()) + filled * sizeof(codes[0]);
  }

  template <class T>
  void decode_add(const context& where, std::span<const std::uint8_t> wire, std::span<T> values, T scale) const {
    if (values.empty()) return;
    thread_local room<T> r;  // grows to the largest block and stays
    std::uint32_t k = 0;
    if (wire.size() < 4) throw bad(values.size(), "fewer than 4 bytes");
    std::memcpy(&k, wire.data(), 4);
    if (k > sparsifier.template wire_count<T>(shaped(where, values.size()))) throw bad(values.size(), entrain::detail::text(k, " entries"));
    r.fit(k);
    typename Indices::reader in(wire.subspan(4), values.size());
    for (std::size_t i = 0; i < k; ++i)
      if (!in.get(r.index[i]) || r.index[i] >= values.size()) throw bad(values.size(), entrain::detail::text("no index for entry ", i));
    const std::size_t left = std::size_t(wire.data() + wire.size() - in.end()), width = sizeof(wire_of<Quantiser, T>);
    const std::size_t most = quantiser.template wire_count<T>(block(k)), count = left / width;
    if (left % width != 0 || (is_variable<Quantiser> ? count > most : count != most)) throw bad(values.size(), entrain::detail::text(left, " bytes of values"));
    if (r.codes.size() < count) r.codes.resize(count);
    if (count > 0) std::memcpy(r.codes.data(), in.end(), left);
    std::fill_n(r.values.begin(), k, T(0));
    quantiser.decode_add(second(where), std::span<const wire_of<Quantiser, T>>(r.codes.data(), count), std::span<T>(r.values.data(), k), T(1));
    for (std::size_t i = 0; i < k; ++i) values[r.index[i]] += scale * r.values[i];
  }

  std::string describe() const { return "chain{" + entrain::describe(sparsifier) + ", " + entrain::describe(quantiser) + ", " + std::string(Indices::name) + "}"; }
  friend bool operator==(const chain&, const chain&) = default;

 private:
  template <class T>
  struct room {
    std::vector<std::uint32_t> index;
    std::vector<T> values;
    std::vector<wire_of<Quantiser, T>> codes;
    void fit(std::size_t k) {
      if (index.size() < k) index.resize(k), values.resize(k);
    }
  };
  // The quantiser's random numbers are not the sparsifier's; its values are one row.
  static context second(context where) {
    where.seed ^= 0xd1342543de82ef95ull;
    where.rows = 1, where.columns = 0;
    return where;
  }
  static block shaped(const context& where, std::size_t n) {
    return where.columns > 0 && where.rows * where.columns == n ? block(where.rows, where.columns) : block(n);
  }
  static communication_error bad(std::size_t n, const std::string& found) {
    return communication_error("compress::chain", "what arrived is no encoding of a block of " + std::to_string(n) + " values", "entries with indices and codes", found);
  }
};

}  // namespace entrain::compress
