// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include <entrain/device/nn/layer_norm/columns.cuh>
#include <entrain/device/nn/layer_norm/rows.cuh>
#include <entrain/device/workspace.cuh>

// Layer norm, and layer norm of a sum, on the device. All are bound by memory. With n = rows * width elements of T:
//   forward               reads n, writes n          32768 x 768 in bf16: 101 MB, 23 us at 4.3 TB/s
//   with the sum          reads 2n, writes 2n        201 MB, 47 us (151 + 101 MB as two operations)
//   backward_input        reads 2n, writes n         151 MB, 35 us; with the sum one read more
//   backward_parameters   reads 2n                   101 MB, 23 us, and 2 x 170 x width partial sums in the engine's workspace
// About 10 flops an element each. Sums are taken in float (double for double), in an order that the sizes determine.

namespace entrain::nn::ops {

namespace detail {

inline constexpr unsigned plain_row_threads = 256;

template <class T, bool Add>
void norm_rows(const engine::cuda_queue& queue, const device::norm_forward<T, Add>& op) {
  const bool packs = device::aligned(op.a) && device::aligned(op.b) && device::aligned(op.gain) && device::aligned(op.bias) && device::aligned(op.sum) && device::aligned(op.out);
  const auto held = [&](auto holder) {
    using Holder = decltype(holder);
    device::launch(queue, device::layer_norm_forward<Holder, T, Add>, {device::ceil_div(op.rows, Holder::rows_a_block), Holder::threads_a_block}, op);
  };
  if (!packs || !device::with_row_holder<T>(op.width, held))
    device::launch(queue, device::layer_norm_forward_plain<T, Add>, {unsigned(op.rows), plain_row_threads}, op);
}

template <class T, bool Add>
void norm_rows_backward(const engine::cuda_queue& queue, const device::norm_backward<T, Add>& op) {
  const bool packs = device::aligned(op.in) && device::aligned(op.gain) && device::aligned(op.dout) && device::aligned(op.dsum) && device::aligned(op.din);
  const auto held = [&](auto holder) {
    using Holder = decltype(holder);
    device::launch(queue, device::layer_norm_backward_input<Holder, T, Add>, {device::ceil_div(op.rows, Holder::rows_a_block), Holder::threads_a_block}, op);
  };
  if (!packs || !device::with_row_holder<T>(op.width, held))
    device::launch(queue, device::layer_norm_backward_input_plain<T, Add>, {unsigned(op.rows), plain_row_threads}, op);
}

}  // namespace detail

template <class T>
void forward(const engine::cuda_queue& queue, const layer_norm& op, const T* in, const T* gain, const T* bias, T* out, statistic<T>* mean,
             statistic<T>* inverse_deviation) {
  detail::norm_rows(queue, device::norm_forward<T, false>{op.rows, op.width, op.epsilon, in, nullptr, gain, bias, nullptr, out, mean, inverse_deviation});
}

template <class T>
void forward(const engine::cuda_queue& queue, const add_layer_norm& op, const T* a, const T* b, const T* gain, const T* bias, T* sum, T* out, statistic<T>* mean,
             statistic<T>* inverse_deviation) {
  detail::norm_rows(queue, device::norm_forward<T, true>{op.rows, op.width, op.epsilon, a, b, gain, bias, sum, out, mean, inverse_deviation});
}

template <class T>
void backward_input(const engine::cuda_queue& queue, const layer_norm& op, const T* in, const T* gain, const statistic<T>* mean, const statistic<T>* inverse_deviation,
                    const T* dout, T* din) {
  detail::norm_rows_backward(queue, device::norm_backward<T, false>{op.rows, op.width, in, gain, mean, inverse_deviation, dout, nullptr, din});
}

template <class T>
void backward_input(const engine::cuda_queue& queue, const add_layer_norm& op, const T* sum, const T* gain, const statistic<T>* mean, const statistic<T>* inverse_deviation,
                    const T* dout, const T* dsum, T* din) {
  detail::norm_rows_backward(queue, device::norm_backward<T, true>{op.rows, op.width, sum, gain, mean, inverse_deviation, dout, dsum, din});
}

template <class T>
void backward_parameters(const engine::cuda_queue& queue, const layer_norm& op, const T* in, const statistic<T>* mean, const statistic<T>* inverse_deviation,
                         const T* dout, T* dgain, T* dbias) {
  constexpr int count = device::pack<T>::count;
  const bool packs = op.width % count == 0 && device::aligned(in) && device::aligned(dout);
  const unsigned column_blocks = device::ceil_div(op.width, packs ? 32 * count : 32);
  const std::size_t chunks = device::column_chunks(op.rows, column_blocks), rows_a_chunk = (op.rows + chunks - 1) / chunks;
  const auto workspace = device::workspace_for(queue, "backward_parameters of layer_norm", chunks * 2 * op.width * sizeof(device::arithmetic<T>));
  auto* partial = reinterpret_cast<device::arithmetic<T>*>(workspace.data());
  const device::shape how{dim3(column_blocks, unsigned(chunks)), dim3(32, device::warps_a_column_block)};
  if (packs) device::launch(queue, device::layer_norm_chunk_sums<T, count>, how, op, in, mean, inverse_deviation, dout, partial, rows_a_chunk);
  else device::launch(queue, device::layer_norm_chunk_sums<T, 1>, how, op, in, mean, inverse_deviation, dout, partial, rows_a_chunk);
  device::launch(queue, device::layer_norm_add_chunks<T>, {device::ceil_div(2 * op.width, 32), dim3(32, device::warps_a_column_block)}, op, partial, chunks, dgain, dbias);
}

}  // namespace entrain::nn::ops
