// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <entrain/core/error.hpp>
#include <entrain/core/layout.hpp>
#include <entrain/core/loss.hpp>
#include <entrain/core/philox.hpp>
#include <entrain/nn/detail/dispatch.hpp>
#include <entrain/nn/pass.hpp>

// What a layer is. A layer is written as two types:
//
// A description is a small value of hyper-parameters with
//   describe()                               its text
//   make<T>(builder&, shape in, prefix)      the instance for one sample of that shape; its parameter blocks are named
//                                            prefix + "weight" and so on
//
// An instance derives from layer_base, which holds its sizes and where its parameters lie, and has
//   initialise(T* parameters, seed)                                       first values of its blocks
//   forward(call, const T* parameters, const T* in, T* out, T* saved)     `saved`: what it must remember till the backward pass
//   backward_input(call, parameters, kept, dout, din)                     the gradient for the layer below
//   backward_parameters(call, parameters, kept, dout, T* gradient)        the gradient of its blocks
//
// Parameters and gradients are flat arenas; saved, stash and scratch memory comes from the caller, so instances are
// immutable and one serves many micro-batches. All sizes are elements a row; a row is a sample, or one token of a packed
// sequence. A layer that contains layers says `composite = true` and also has backward(...), see nn/chain.hpp. To add a
// layer, write both types in one header: nn/linear.hpp is the shortest example with parameters.

namespace entrain::nn {

// Where a block of parameters lies.
struct parameter {
  std::size_t index = 0, offset = 0, count = 0;
};

struct layer_base {
  static constexpr bool composite = false;

  shape in_shape, out_shape;
  std::size_t in_size = 0, out_size = 0;
  std::size_t saved = 0;         // kept from the forward to the backward pass
  std::size_t stash = 0;         // kept from backward_input to backward_parameters
  std::size_t scratch = 0;       // free after each call
  std::size_t workspace = 0;     // free after each call; not a row but in all
  double cost = 0;               // floating-point operations of the forward pass
  bool identity = false;         // does nothing at all; chains leave it out
  bool in_place = false;         // forward may write over its input, and the backward pass needs neither
  bool needs_output = false;     // the backward pass reads the output
  bool passes_gradient = false;  // din is dout
  // What a chain does together with a neighbour (nn/chain.hpp), with the calls that it then makes:
  bool affine = false;      // in * weight + bias: forward_gelu(), backward_input_gelu()
  bool gelu = false;        // element by element, without parameters
  bool sum_last = false;    // in + branch, and all but the sum is forward_branch()
  bool norm_first = false;  // begins with a layer norm and takes a sum for its input: forward() of an arriving_sum
  std::vector<parameter> parameters;

  layer_base() = default;
  layer_base(shape in, shape out)
      : in_shape(std::move(in)), out_shape(std::move(out)), in_size(elements(in_shape)), out_size(elements(out_shape)) {}

  // Offsets are known when all blocks of the model are.
  void bind(const parameter_layout& layout) {
    for (auto& p : parameters) p.offset = layout[p.index].offset;
  }
};

// Collects the parameter blocks of a model while its layers are made.
class builder {
 public:
  parameter add(std::string name, shape dims, block_kind kind) {
    const std::size_t index = layout.add(std::move(name), std::move(dims), kind);
    return {index, 0, layout[index].count};
  }
  std::uint32_t next_layer() { return layers_++; }  // the stream of a layer's random numbers

  parameter_layout layout;

 private:
  std::uint32_t layers_ = 0;
};

// One run through the layers: the engine, the pass's settings, how many rows, and memory to work in.
template <class T, class Engine>
struct call {
  const Engine& engine;
  const pass& how;
  std::size_t rows = 0;
  std::size_t length = 0;  // rows a sequence, 0 where rows are samples
  bool accumulate = true;
  T* scratch = nullptr;
  T* workspace = nullptr;

  // Index of the first row in the whole step's batch.
  std::uint64_t first_row() const { return std::uint64_t(how.first_sample) * (length > 0 ? length : 1); }
  // Nobody wants the gradients of these blocks (pass::idle).
  bool skips(const std::vector<parameter>& blocks) const {
    if (how.idle.empty() || blocks.empty()) return false;
    for (const auto& b : blocks)
      if (!how.idle[b.index]) return false;
    return true;
  }
  call with_scratch(T* memory) const {
    call copy = *this;
    copy.scratch = memory;
    return copy;
  }
};

// What the backward pass of a layer finds from the forward pass.
template <class T>
struct kept {
  const T* in = nullptr;
  const T* out = nullptr;
  T* saved = nullptr;
  T* stash = nullptr;
};

// The input of a layer that begins with a norm, still in two parts: it is a + b, and the layer writes it to `sum`, which may be either.
template <class T>
struct arriving_sum {
  const T *a = nullptr, *b = nullptr;
  T* sum = nullptr;
};

// First values of a weight.
struct initialiser {
  enum class rule { zeros, ones, normal, uniform, fan_in };
  rule kind = rule::fan_in;
  float scale = 1;

  static constexpr initialiser zeros() { return {rule::zeros, 0}; }
  static constexpr initialiser ones() { return {rule::ones, 1}; }
  static constexpr initialiser normal(float deviation) { return {rule::normal, deviation}; }
  static constexpr initialiser uniform(float limit) { return {rule::uniform, limit}; }
  // Uniform within +- scale / sqrt(inputs): He et al., 2015, with the gain that PyTorch uses for linear layers.
  static constexpr initialiser fan_in() { return {rule::fan_in, 1}; }

  template <class T>
  void fill(T* arena, const parameter& p, std::size_t inputs, std::uint64_t seed) const {
    const random_stream random(seed, purpose::initialise, std::uint32_t(p.index));
    const double limit = kind == rule::fan_in ? double(scale) / std::sqrt(double(inputs)) : double(scale);
    for (std::size_t i = 0; i < p.count; ++i) {
      T& value = arena[p.offset + i];
      switch (kind) {
        case rule::zeros:
          value = T(0);
          break;
        case rule::ones:
          value = T(1);
          break;
        case rule::normal:
          value = T(double(scale) * random.normal(i));
          break;
        case rule::uniform:
        case rule::fan_in:
          value = T(limit * (2.0 * double(random.uniform(i)) - 1.0));
          break;
      }
    }
  }
  friend bool operator==(const initialiser&, const initialiser&) = default;
};

namespace detail {

// Row sizes are rounded up so that every array in a slot begins on a cache line.
constexpr std::size_t padded(std::size_t size) { return (size + 15) / 16 * 16; }

inline void require_rank(const char* layer, const shape& in, std::size_t rank, const char* meaning) {
  if (in.size() != rank) throw usage_error(layer, "input of the wrong shape", meaning, to_string(in));
}

}  // namespace detail

}  // namespace entrain::nn
