// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <span>
#include <utility>

#include <entrain/core/config.hpp>
#include <entrain/core/dtype.hpp>
#include <entrain/core/error.hpp>
#include <entrain/core/memory.hpp>

// A vector of d elements of which few are there: as (index, value) pairs, in the order of indices, or whole, whichever is
// shorter. It is whole exactly when count * (4 + w) > d * w, with w the bytes of a value (Renggli et al., SparCML, SC 2019),
// so its body never has more than d * w bytes. Twice that is reserved once, and of it only what is used takes memory.
//
//   comm::sparse_stream<float> stream(d);
//   stream.append({indices, values});            // or a span of structs with members index and value
//   comm::sparse_all_reduce(world, stream);
//   stream.add_to(gradient, 1.0f);
//
// What is absent counts as T{}, which must be the identity of the operation that merges.
//
// In the body of the pair form all values come first, then all indices: one piece of memory of count * (4 + w) bytes, which
// travels as it is.

namespace entrain::comm {

// Distinct ascending indices with their values, wherever they lie. Looks, does not own.
template <class T>
struct sparse_entries {
  const std::byte *indices = nullptr, *values = nullptr;
  std::size_t index_stride = 0, value_stride = 0, count = 0;

  sparse_entries() = default;
  sparse_entries(std::span<const std::uint32_t> i, std::span<const T> v)
      : indices(reinterpret_cast<const std::byte*>(i.data())),
        values(reinterpret_cast<const std::byte*>(v.data())),
        index_stride(sizeof(std::uint32_t)),
        value_stride(sizeof(T)),
        count(i.size()) {
    if (i.size() != v.size())
      throw usage_error("comm::sparse_entries", "as many values as indices are needed", entrain::detail::text(i.size()), entrain::detail::text(v.size()));
  }
  // Anything contiguous of structs with the members `index` and `value`, such as compress::sparse_entry<T>.
  template <class Range>
    requires std::same_as<decltype(std::data(std::declval<const Range&>())->index), std::uint32_t> &&
             std::same_as<decltype(std::data(std::declval<const Range&>())->value), T>
  sparse_entries(const Range& entries) : count(std::size(entries)) {
    index_stride = value_stride = sizeof(*std::data(entries));
    if (count == 0) return;
    indices = reinterpret_cast<const std::byte*>(&std::data(entries)->index);
    values = reinterpret_cast<const std::byte*>(&std::data(entries)->value);
  }

  std::uint32_t index(std::size_t i) const {
    std::uint32_t out;
    std::memcpy(&out, indices + i * index_stride, sizeof out);
    return out;
  }
  T value(std::size_t i) const { return *reinterpret_cast<const T*>(values + i * value_stride); }
};

template <element T>
class sparse_stream {
 public:
  static constexpr std::size_t pair_bytes = sizeof(std::uint32_t) + sizeof(T);

  sparse_stream() = default;
  explicit sparse_stream(std::size_t d) { reset(d); }

  // Empties it and sets the length. Allocates only beyond every length before.
  void reset(std::size_t d) {
    if (d > std::size_t(1) << 32) throw usage_error("comm::sparse_stream", "indices have 32 bits", "at most 2^32 elements", entrain::detail::text(d));
    if (memory_.size() < 2 * d * sizeof(T)) memory_ = buffer<std::byte>(2 * d * sizeof(T));
    size_ = d;
    clear();
  }
  void clear() { count_ = 0, next_ = 0, dense_ = false; }

  std::size_t size() const { return size_; }                  // d
  bool dense() const { return dense_; }
  std::size_t count() const { return dense_ ? size_ : count_; }  // entries: of the whole form all d
  std::size_t bytes() const { return dense_ ? size_ * sizeof(T) : count_ * pair_bytes; }
  // Whether so many pairs are shorter than the whole.
  static constexpr bool fits(std::size_t pairs, std::size_t d) { return pairs * pair_bytes <= d * sizeof(T); }
  std::size_t capacity_bytes() const { return memory_.size(); }

  // Entry i of the pair form.
  std::uint32_t index(std::size_t i) const {
    std::uint32_t out;
    std::memcpy(&out, index_bytes() + i * sizeof out, sizeof out);
    return out;
  }
  T value(std::size_t i) const { return values()[i]; }
  const T* values() const { return reinterpret_cast<const T*>(memory_.data()); }  // count() of them, in both forms
  std::span<const T> whole() const { return {values(), dense_ ? size_ : 0}; }

  // Adds entries whose indices, plus `base`, exceed all that are there already. Throws usage_error for others.
  void append(const sparse_entries<T>& entries, std::size_t base = 0) {
    if (!dense_ && !fits(count_ + entries.count, size_)) make_dense();
    if (!dense_) {
      if (count_ > 0) std::memmove(memory_.data() + (count_ + entries.count) * sizeof(T), index_bytes(), count_ * sizeof(std::uint32_t));
      const std::size_t before = count_;
      count_ += entries.count;
      for (std::size_t i = 0; i < entries.count; ++i) set_index(before + i, take(base + entries.index(i)));
      for (std::size_t i = 0; i < entries.count; ++i) values()[before + i] = entries.value(i);
    } else {
      for (std::size_t i = 0; i < entries.count; ++i) values()[take(base + entries.index(i))] = entries.value(i);
    }
  }

  // to[i] += scale * value, for all entries. to.size() == size().
  void add_to(std::span<T> to, T scale) const {
    if (dense_) {
      const T* from = values();
      T* out = to.data();
      ENTRAIN_VECTORISE
      for (std::size_t i = 0; i < size_; ++i) out[i] = T(out[i] + scale * from[i]);
    } else {
      for (std::size_t i = 0; i < count_; ++i) {
        T& out = to[index(i)];
        out = T(out + scale * value(i));
      }
    }
  }
  // to = the vector, T{} where nothing is.
  void store(std::span<T> to) const {
    if (dense_) {
      std::copy_n(values(), size_, to.data());
    } else {
      std::fill(to.begin(), to.end(), T{});
      for (std::size_t i = 0; i < count_; ++i) to[index(i)] = value(i);
    }
  }
  void copy_from(const sparse_stream& other) {
    reset(other.size_);
    count_ = other.count_, next_ = other.next_, dense_ = other.dense_;
    if (bytes() > 0) std::memcpy(memory_.data(), other.memory_.data(), bytes());
  }

  // The body as it travels; receive_form() says what is about to be written there.
  view<const std::byte> body() const { return {memory_.data(), bytes()}; }
  view<std::byte> receive_form(std::size_t count, bool is_dense) {
    dense_ = is_dense, count_ = is_dense ? 0 : count, next_ = size_;
    return {memory_.data(), bytes()};
  }

  // low + high, where both have an entry Op::combine(low's, high's). Returns the one of the three that holds the result; the
  // other two are spent. All have the same size. Cost: a pass over the entries, in the whole form over the shorter operand.
  template <class Op>
  friend sparse_stream& merge_add(sparse_stream& low, sparse_stream& high, sparse_stream& spare, Op) {
    if (low.dense_ || high.dense_) return low.template merge_dense<Op>(high);
    if (high.count_ == 0) return low;
    if (low.count_ == 0) return high;
    spare.reset(low.size_);
    const std::size_t most = low.count_ + high.count_;
    if (fits(most, low.size_)) spare.template merge_pairs<Op>(low, high, most);
    else if (const std::size_t exact = union_count(low, high); fits(exact, low.size_)) spare.template merge_pairs<Op>(low, high, exact);
    else spare.template merge_to_dense<Op>(low, high);
    return spare;
  }

 private:
  T* values() { return reinterpret_cast<T*>(memory_.data()); }
  const std::byte* index_bytes() const { return memory_.data() + count_ * sizeof(T); }
  void set_index(std::size_t i, std::uint32_t index) { std::memcpy(memory_.data() + count_ * sizeof(T) + i * sizeof index, &index, sizeof index); }

  std::uint32_t take(std::size_t index) {
    if (index < next_ || index >= size_) {
      const std::size_t expected = next_;
      clear();
      throw usage_error("comm::sparse_stream", "indices must ascend and lie in the vector", entrain::detail::text("an index in [", expected, ", ", size_, ")"),
                        entrain::detail::text(index));
    }
    next_ = index + 1;
    return std::uint32_t(index);
  }

  // The pairs step aside into the second half of the memory.
  void make_dense() {
    const std::size_t n = count_;
    std::byte* const pairs = memory_.data() + size_ * sizeof(T);
    if (n > 0) std::memcpy(pairs, memory_.data(), n * pair_bytes);
    std::fill_n(values(), size_, T{});
    for (std::size_t i = 0; i < n; ++i) {
      std::uint32_t at;
      std::memcpy(&at, pairs + n * sizeof(T) + i * sizeof at, sizeof at);
      values()[at] = reinterpret_cast<const T*>(pairs)[i];
    }
    dense_ = true, count_ = 0;
  }

  template <class Op>
  sparse_stream& merge_dense(sparse_stream& high) {
    if (dense_ && high.dense_) {
      T* a = values();
      const T* b = high.values();
      const std::size_t n = size_;
      ENTRAIN_VECTORISE
      for (std::size_t i = 0; i < n; ++i) a[i] = Op::combine(a[i], b[i]);
      return *this;
    }
    if (dense_) {
      for (std::size_t i = 0; i < high.count_; ++i) values()[high.index(i)] = Op::combine(values()[high.index(i)], high.value(i));
      return *this;
    }
    for (std::size_t i = 0; i < count_; ++i) high.values()[index(i)] = Op::combine(value(i), high.values()[index(i)]);
    return high;
  }

  static std::size_t union_count(const sparse_stream& a, const sparse_stream& b) {
    std::size_t i = 0, j = 0, both = 0;
    while (i < a.count_ && j < b.count_) {
      const auto x = a.index(i), y = b.index(j);
      both += x == y, i += x <= y, j += y <= x;
    }
    return a.count_ + b.count_ - both;
  }

  // Room for `most` pairs; closes up when there are fewer. No branch depends on the data while both lists last.
  template <class Op>
  void merge_pairs(const sparse_stream& a, const sparse_stream& b, std::size_t most) {
    count_ = most;
    std::size_t i = 0, j = 0, k = 0;
    const T *u = a.values(), *v = b.values();
    T* out = values();
    while (i < a.count_ && j < b.count_) {
      const auto x = a.index(i), y = b.index(j);
      const T both = Op::combine(u[i], v[j]), one = x < y ? u[i] : v[j];
      out[k] = x == y ? both : one;
      set_index(k++, x < y ? x : y);
      i += x <= y, j += y <= x;
    }
    for (; i < a.count_; ++i) out[k] = u[i], set_index(k++, a.index(i));
    for (; j < b.count_; ++j) out[k] = v[j], set_index(k++, b.index(j));
    const std::byte* from = index_bytes();
    count_ = k, next_ = size_;
    if (k < most) std::memmove(memory_.data() + k * sizeof(T), from, k * sizeof(std::uint32_t));
  }
  template <class Op>
  void merge_to_dense(const sparse_stream& low, const sparse_stream& high) {
    dense_ = true, next_ = size_;
    std::fill_n(values(), size_, T{});
    for (std::size_t i = 0; i < low.count_; ++i) values()[low.index(i)] = low.value(i);
    for (std::size_t i = 0; i < high.count_; ++i) values()[high.index(i)] = Op::combine(values()[high.index(i)], high.value(i));
  }

  std::size_t size_ = 0, count_ = 0, next_ = 0;  // next_: the least index that may be appended
  bool dense_ = false;
  buffer<std::byte> memory_;
};

}  // namespace entrain::comm
