// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>

#include <entrain/core/loss.hpp>
#include <entrain/nn/ops.hpp>

// Layers have members named forward and backward, which would hide the operations of the same names. These functions
// stand where no such name is in sight, so that the overload is found through the descriptor's namespace alone, at the
// point of instantiation: also one that a header declares later (nn/host.hpp, device/).

namespace entrain::nn::op {

// Copies and zeroes in the order of the engine's work.
template <class Engine, class T>
void do_copy(const Engine& engine, const T* from, T* to, std::size_t count) {
  if (count == 0 || from == nullptr || to == nullptr || from == to) return;
  if constexpr (Engine::space::host_accessible) std::memcpy(to, from, count * sizeof(T));
  else engine.copy(from, to, count);
}
template <class Engine, class T>
void do_zero(const Engine& engine, T* to, std::size_t count) {
  if constexpr (Engine::space::host_accessible) std::fill_n(to, count, T(0));
  else engine.zero(to, count);
}

template <class Engine, class Op, class... Pointers>
void do_run(const Engine& engine, const Op& operation, Pointers... pointers) {
  run(engine, operation, pointers...);
}
// One operation where the engine has it, else the bias first and the product added to it.
template <class Engine, class T>
void do_affine(const Engine& engine, const ops::affine& d, const T* in, const T* weight, const T* bias, T* out) {
  if constexpr (requires { run(engine, d, in, weight, bias, out); }) {
    run(engine, d, in, weight, bias, out);
  } else {
    run(engine, ops::broadcast_rows{d.rows, d.outputs}, bias, out);
    run(engine, ops::gemm{false, false, d.rows, d.outputs, d.inputs, d.inputs, d.outputs, d.outputs, 1, 1, ops::eight_bits::values}, in, weight, out);
  }
}
// One operation where the engine has it, else its parts.
template <class Engine, class T>
void do_affine_gelu(const Engine& engine, const ops::affine_gelu& d, const T* in, const T* weight, const T* bias, T* kept, T* out) {
  if constexpr (requires { run(engine, d, in, weight, bias, kept, out); }) {
    run(engine, d, in, weight, bias, kept, out);
  } else {
    do_affine(engine, ops::affine{d.rows, d.inputs, d.outputs}, in, weight, bias, kept);
    forward(engine, ops::activation{ops::activation_kind::gelu, d.rows * d.outputs}, static_cast<const T*>(kept), out);
  }
}
template <class Engine, class T>
void do_affine_gelu_slope(const Engine& engine, const ops::affine_gelu_slope& d, const T* dout, const T* weight, const T* kept, T* din) {
  if constexpr (requires { run(engine, d, dout, weight, kept, din); }) {
    run(engine, d, dout, weight, kept, din);
  } else {
    run(engine, ops::gemm{false, true, d.rows, d.inputs, d.outputs, d.outputs, d.outputs, d.inputs, 1, 0, ops::eight_bits::gradient_a}, dout, weight, din);
    backward(engine, ops::activation{ops::activation_kind::gelu, d.rows * d.inputs}, kept, static_cast<const T*>(din), din);
  }
}
template <class Engine, class T>
void do_affine_gradient(const Engine& engine, const ops::affine_gradient& d, const T* in, const T* dout, T* dweight, T* dbias) {
  if constexpr (requires { run(engine, d, in, dout, dweight, dbias); }) {
    run(engine, d, in, dout, dweight, dbias);
  } else {
    run(engine, ops::gemm{true, false, d.inputs, d.outputs, d.rows, d.inputs, d.outputs, d.outputs, 1, d.accumulate ? 1.0f : 0.0f, ops::eight_bits::gradient_b}, in, dout, dweight);
    run(engine, ops::column_sum{d.rows, d.outputs, d.accumulate}, dout, dbias);
  }
}
template <class Engine, class Op, class... Pointers>
void do_forward(const Engine& engine, const Op& operation, Pointers... pointers) {
  forward(engine, operation, pointers...);
}
template <class Engine, class Op, class... Pointers>
void do_forward_with(const Engine& engine, const Op& operation, Pointers... pointers) {
  forward_with(engine, operation, pointers...);
}
template <class Engine, class Op, class... Pointers>
void do_backward(const Engine& engine, const Op& operation, Pointers... pointers) {
  backward(engine, operation, pointers...);
}
template <class Engine, class Op, class... Pointers>
void do_backward_input(const Engine& engine, const Op& operation, Pointers... pointers) {
  backward_input(engine, operation, pointers...);
}
template <class Engine, class Op, class... Pointers>
void do_backward_parameters(const Engine& engine, const Op& operation, Pointers... pointers) {
  backward_parameters(engine, operation, pointers...);
}
template <class Engine, class Op, class... Pointers>
void do_apply(const Engine& engine, const Op& operation, Pointers... pointers) {
  apply(engine, operation, pointers...);
}
template <class Engine, class Op, class... Pointers>
loss_sum do_loss(const Engine& engine, const Op& operation, Pointers... pointers) {
  return forward(engine, operation, pointers...);
}
template <class Engine, class Op, class... Pointers>
loss_sum do_loss_and_gradient(const Engine& engine, const Op& operation, Pointers... pointers) {
  return forward_backward(engine, operation, pointers...);
}

}  // namespace entrain::nn::op
