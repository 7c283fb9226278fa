// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstring>
#include <vector>

#include <entrain/core/config.hpp>
#include <entrain/core/memory.hpp>

// The fixed tree of a reproducible reduction, as a function of the number of leaves L alone. Node [a, b) with more than one
// leaf splits after the largest power of two below b - a: its left child is a full binary tree, and every node begins at a
// multiple of the power of two that covers it. So L = 8 leaves on 1, 2, 4 or 8 ranks are one node a rank, and any
// contiguous range of leaves is at most 2 log2(L) nodes.
//
// Pure functions on numbers, plus the evaluation of a part of the tree on vectors, block by block in the first-level cache.

namespace entrain::comm::tree {

struct node {
  std::size_t first = 0, last = 0;  // leaves [first, last)
  std::size_t leaves() const { return last - first; }
  friend bool operator==(const node&, const node&) = default;
};

// Where a node of two or more leaves splits.
constexpr std::size_t split_of(node n) { return n.first + std::bit_floor(n.last - n.first - 1); }

// Whether two neighbours are the children of one node of the tree of `total` leaves.
inline bool siblings(node left, node right, std::size_t total) {
  const std::size_t half = left.leaves();
  return left.last == right.first && std::has_single_bit(half) && left.first % (2 * half) == 0 &&
         right.last == std::min(left.first + 2 * half, total);
}

// Appends the largest nodes of the tree that make up [first, last), in order.
inline void cover(node range, node at, std::vector<node>& out) {
  if (at.last <= range.first || range.last <= at.first || range.first == range.last) return;
  if (range.first <= at.first && at.last <= range.last) return out.push_back(at);
  const std::size_t middle = split_of(at);
  cover(range, {at.first, middle}, out);
  cover(range, {middle, at.last}, out);
}

// Combines in the order in which they must be done. Operands below `inputs` are inputs; others are temporary vectors. The
// last one's target is the result.
class program {
 public:
  struct combine {
    std::size_t a, b, to;
  };

  // The value of node `root` from those of `given`, which make it up, in order.
  void build(node root, const std::vector<node>& given) {
    given_ = &given, cursor_ = 0, inputs_ = given.size(), temporaries_ = 0;
    steps_.clear();
    result_ = evaluate(root, 0);
    given_ = nullptr;
  }
  std::size_t inputs() const { return inputs_; }

  // out[i] = the tree's value of elements i of the inputs; input(k) is where input k lies. Out may be one of the inputs.
  template <class Op, class T, class Input>
  void run(Input&& input, T* out, std::size_t n, std::vector<std::byte>& space) const {
    if (n == 0) return;
    if (steps_.empty()) {
      const T* from = input(result_);
      if (from != out) std::memcpy(static_cast<void*>(out), static_cast<const void*>(from), n * sizeof(T));
      return;
    }
    constexpr std::size_t block = std::max<std::size_t>(1, 4096 / sizeof(T));
    if (space.size() < temporaries_ * block * sizeof(T) + buffer_alignment) space.resize(temporaries_ * block * sizeof(T) + buffer_alignment);
    const auto address = reinterpret_cast<std::uintptr_t>(space.data());
    T* const temporary = reinterpret_cast<T*>(space.data() + (buffer_alignment - address % buffer_alignment));
    for (std::size_t begin = 0; begin < n; begin += block) {
      const std::size_t count = std::min(block, n - begin);
      const auto operand = [&](std::size_t k) { return k < inputs_ ? input(k) + begin : static_cast<const T*>(temporary + (k - inputs_) * block); };
      for (const auto& s : steps_) {
        T* const to = &s == &steps_.back() ? out + begin : temporary + (s.to - inputs_) * block;
        combine_block<Op>(operand(s.a), operand(s.b), to, count);
      }
    }
  }

 private:
  template <class Op, class T>
  static void combine_block(const T* a, const T* b, T* into, std::size_t n) {
    ENTRAIN_VECTORISE
    for (std::size_t i = 0; i < n; ++i) into[i] = Op::combine(a[i], b[i]);
  }

  // Returns the operand that holds the node's value; temporaries from `depth` on are free.
  std::size_t evaluate(node at, std::size_t depth) {
    if ((*given_)[cursor_] == at) return cursor_++;
    const std::size_t middle = split_of(at);
    const std::size_t a = evaluate({at.first, middle}, depth);
    const std::size_t b = evaluate({middle, at.last}, a >= inputs_ ? depth + 1 : depth);
    temporaries_ = std::max(temporaries_, depth + 1);
    steps_.push_back({a, b, inputs_ + depth});
    return inputs_ + depth;
  }

  const std::vector<node>* given_ = nullptr;
  std::size_t cursor_ = 0, inputs_ = 0, temporaries_ = 0, result_ = 0;
  std::vector<combine> steps_;
};

}  // namespace entrain::comm::tree
