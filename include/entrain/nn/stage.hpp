// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <entrain/core/loss.hpp>
#include <entrain/core/memory.hpp>
#include <entrain/nn/host.hpp>  // every program sees the same overloads for engine::host
#include <entrain/nn/parts.hpp>
#include <entrain/nn/pass.hpp>
#include <entrain/nn/resident.hpp>

// The units [first, last) of a network with the memory to run them: what a pipeline's rank holds, and, over all units,
// what a whole network is. Up to `slots` micro-batches may be between their forward and backward passes.
//
//   forward(parameters, batch, in, out, slot, pass)             in: rows of the stage before, out: rows for the next; the last
//                                                               stage returns the loss
//   backward(parameters, batch, dout, din, gradient, slot, pass, ready)
//   backward_input(...) and backward_parameters(...)            the same in two halves; the second may come any time later
//
// The same batch must be given to all calls of a slot (each stage needs its sizes, the first its inputs, the last its
// targets). ready(block) is called once a block that the stage holds. `in` and `dout` need not outlive the call.
// Memory grows with the largest batch seen and is then reused: nothing is allocated in later steps. In passes with
// training = false the last stage computes no gradient until backward() asks for it.

namespace entrain::nn {

template <class T, class Engine, class Input, class Body, class Head>
class stage {
 public:
  using parts_type = network_parts<T, Engine, Input, Body, Head>;
  using batch_type = typename parts_type::batch_type;
  using value_type = T;
  using space = typename Engine::space;

  stage(std::shared_ptr<const parts_type> parts, std::size_t first, std::size_t last, std::size_t slots)
      : parts_(std::move(parts)), has_input_(first == 0), has_head_(last == parts_->units()), slots_(slots) {
    if (first >= last || last > parts_->units())
      throw usage_error("nn::stage", "no such range of units", "first < last <= " + std::to_string(parts_->units()),
                        "[" + std::to_string(first) + ", " + std::to_string(last) + ")");
    const auto from = parts_->leaves.begin();
    plan_ = parts_->body.plan({from + std::ptrdiff_t(parts_->leaf_of(first)), from + std::ptrdiff_t(parts_->leaf_of(last))});
    border_in_ = parts_->border(first), border_out_ = parts_->border(last);
    place();
    for (std::size_t u = first; u < last; ++u)
      for (const std::size_t b : parts_->blocks(u))
        if (std::find(blocks_.begin(), blocks_.end(), b) == blocks_.end()) blocks_.push_back(b);
    workspace_ = buffer<T, space>(plan_.workspace);
  }

  // Elements a sample at the two ends; 0 where the network begins and ends. Sequences shorter than the context send fewer.
  std::size_t boundary_in() const { return border_in_ * parts_->input.rows_a_sample(); }
  std::size_t boundary_out() const { return border_out_ * parts_->input.rows_a_sample(); }
  const std::vector<std::size_t>& blocks() const { return blocks_; }

  // What a forward pass begins with: the batch is checked, memory made large enough, and the batch sent to the engine. Called by itself
  // (then the pass is given pass.sent) where the rest must only launch.
  sent_batch send(const batch_type& batch, std::size_t slot) {
    const auto& s = begin(batch, slot);
    if (has_head_) parts_->head.check(batch);
    return {s.rows, s.length, moves_};
  }

  loss_sum forward(view<const T, space> parameters, const batch_type& batch, view<const T, space> in, view<T, space> out, std::size_t slot,
                   const pass& how) {
    if (!how.sent) send(batch, slot);
    auto& s = resume(parameters, {}, batch, slot);
    s.has_gradient = false;
    if (s.rows == 0) return {};
    expect(in.size(), s.rows * border_in_, "input");
    expect(out.size(), s.rows * border_out_, "output");
    const auto c = make_call(s, how, how.accumulate);
    const T* y = run(c, s, parameters.data(), batch, in.data(), out.data());
    if (!has_head_) return {};
    T* memory = at(s, head_at_);
    s.has_gradient = how.training;
    return how.training ? parts_->head.loss_and_gradient(c, parameters.data(), y, data_of(s, batch), memory)
                        : parts_->head.loss(c, parameters.data(), y, data_of(s, batch), memory);
  }

  // The network's outputs, one row a sample (or token): logits or predictions. Only for a stage that ends the network; needs no targets.
  view<const T, space> predict(view<const T, space> parameters, const batch_type& batch, std::size_t slot, const pass& how) {
    auto& s = begin(batch, slot);
    expect(parameters.size(), parts_->layout.size(), "parameter arena");
    if (!has_input_ || !has_head_) throw usage_error("nn::stage", "predict() of a part of a network", "all units", "a range of them");
    if (s.rows == 0) return {};
    const auto c = make_call(s, how, how.accumulate);
    const T* y = run(c, s, parameters.data(), batch, nullptr, nullptr);
    return {parts_->head.predict(c, parameters.data(), y, at(s, head_at_)), s.rows * parts_->head.out_size};
  }

  void backward(view<const T, space> parameters, const batch_type& batch, view<const T, space> dout, view<T, space> din,
                view<T, space> gradient, std::size_t slot, const pass& how, const ready_reference& ready) {
    auto& s = resume(parameters, gradient, batch, slot);
    if (s.rows == 0) return nothing(gradient, how, ready);
    expect(dout.size(), s.rows * border_out_, "output gradient");
    expect(din.size(), s.rows * border_in_, "input gradient");
    const auto c = make_call(s, how, how.accumulate);
    const T *p = parameters.data(), *dy = dout.data();
    T *g = gradient.data(), *work = work_.data();
    if (has_head_) {
      finish_loss(c, s, p, batch);
      if (!c.skips(parts_->head.parameters)) parts_->head.backward_parameters(c, chain_output(s, batch), at(s, head_at_), g);
      if (!shares_table()) tell(parts_->head.parameters, ready);
      dy = parts_->head.gradient(c, p, at(s, head_at_), plan_.steps.empty() && !has_input_ ? din.data() : work);
    }
    T* dx = !has_input_ ? din.data() : Input::is_unit ? work + detail::padded(head_store()) * s.rows : nullptr;
    if (plan_.steps.empty()) pass_through(s, dy, dx);
    else
      parts_->body.backward(c.with_scratch(work + (detail::padded(head_store()) + detail::padded(input_store())) * s.rows), plan_, p,
                            memory_of(s, batch), dy, dx, g, ready);
    if (!has_input_) return;
    if (!c.skips(parts_->input.parameters)) parts_->input.backward_parameters(make_call(s, how, how.accumulate || shares_table()), data_of(s, batch), dx, g);
    tell(parts_->input.parameters, ready);
  }

  void backward_input(view<const T, space> parameters, const batch_type& batch, view<const T, space> dout, view<T, space> din,
                      std::size_t slot, const pass& how) {
    auto& s = resume(parameters, {}, batch, slot);
    if (s.rows == 0) return;
    expect(dout.size(), s.rows * border_out_, "output gradient");
    expect(din.size(), s.rows * border_in_, "input gradient");
    if (s.stash.size() < stash_ * s.rows) s.stash = buffer<T, space>(stash_ * s.rows);
    const auto c = make_call(s, how, how.accumulate);
    if (has_head_) {
      finish_loss(c, s, parameters.data(), batch);
      parts_->head.gradient(c, parameters.data(), at(s, head_at_), s.stash.data());
    } else op::do_copy(parts_->engine, dout.data(), s.stash.data(), s.rows * border_out_);
    const T* dy = stashed_gradient(s);
    T* dx = has_input_ ? (Input::is_unit ? stashed_input(s) : nullptr) : din.data();
    if (plan_.steps.empty()) pass_through(s, dy, dx);
    else parts_->body.backward_input(c, plan_, parameters.data(), memory_of(s, batch), dy, dx);
  }

  void backward_parameters(view<const T, space> parameters, const batch_type& batch, view<T, space> gradient, std::size_t slot,
                           const pass& how, const ready_reference& ready) {
    auto& s = resume(parameters, gradient, batch, slot);
    if (s.rows == 0) return nothing(gradient, how, ready);
    const auto c = make_call(s, how, how.accumulate);
    if (has_head_ && !c.skips(parts_->head.parameters))
      parts_->head.backward_parameters(c, chain_output(s, batch), at(s, head_at_), gradient.data());
    if (!plan_.steps.empty())
      parts_->body.backward_parameters(c, plan_, parameters.data(), memory_of(s, batch), stashed_gradient(s), gradient.data());
    if (has_input_ && !c.skips(parts_->input.parameters))
      parts_->input.backward_parameters(make_call(s, how, how.accumulate || shares_table()), data_of(s, batch), stashed_input(s), gradient.data());
    for (std::size_t i = blocks_.size(); i-- > 0;) ready(blocks_[i]);
  }

 private:
  struct slot_memory {
    std::size_t rows = 0, length = 0;
    bool has_gradient = false;
    buffer<T, space> kept, stash;
    batch_memory<batch_type, Engine> batch;
  };

  // Elements a row, one after another: what came in, what the layers keep, what they put out, what the head keeps.
  void place() {
    const auto& input = parts_->input;
    const auto& head = parts_->head;
    chain_at_ = detail::padded(has_input_ ? input.store_size : border_in_);
    output_at_ = chain_at_ + plan_.saved;
    head_at_ = output_at_ + (has_head_ || plan_.needs_output ? detail::padded(plan_.out_size) : 0);
    kept_ = head_at_ + (has_head_ ? detail::padded(head.saved) : 0);
    scratch_ = detail::padded(head_store()) + detail::padded(input_store()) + plan_.scratch;
    stash_ = detail::padded(std::max(head_store(), border_out_)) + detail::padded(input_store()) + plan_.stash;
  }
  std::size_t head_store() const { return has_head_ && Head::is_unit ? parts_->head.in_size : 0; }
  std::size_t input_store() const { return has_input_ && Input::is_unit ? parts_->input.out_size : 0; }
  bool shares_table() const {
    return has_head_ && has_input_ && !parts_->head.parameters.empty() && !parts_->input.parameters.empty() &&
           parts_->head.parameters[0].index == parts_->input.parameters[0].index;
  }

  static void expect(std::size_t found, std::size_t least, const char* what) {
    if (found < least)
      throw usage_error("nn::stage", std::string("the ") + what + " is too short", std::to_string(least) + " elements",
                        std::to_string(found));
  }

  slot_memory& begin(const batch_type& batch, std::size_t slot) {
    if (slot >= slots_.size())
      throw usage_error("nn::stage", "no such slot", "below " + std::to_string(slots_.size()), std::to_string(slot));
    if (has_input_) parts_->input.check(batch);
    auto& s = slots_[slot];
    s.rows = Input::rows(batch), s.length = Input::length(batch), s.has_gradient = false;
    if (has_input_ || has_head_) moves_ += s.batch.send(parts_->engine, batch);
    grow(s.kept, kept_ * s.rows), grow(work_, scratch_ * s.rows);
    return s;
  }
  void grow(buffer<T, space>& memory, std::size_t least) {
    if (memory.size() >= least) return;
    memory = buffer<T, space>(least);
    ++moves_;
  }
  slot_memory& resume(view<const T, space> parameters, view<T, space> gradient, const batch_type& batch, std::size_t slot) {
    if (slot >= slots_.size())
      throw usage_error("nn::stage", "no such slot", "below " + std::to_string(slots_.size()), std::to_string(slot));
    expect(parameters.size(), parts_->layout.size(), "parameter arena");
    if (gradient.data()) expect(gradient.size(), parts_->layout.size(), "gradient arena");
    auto& s = slots_[slot];
    if (s.rows != Input::rows(batch))
      throw usage_error("nn::stage", "a pass of another batch than the one that the slot holds", std::to_string(s.rows) + " rows",
                        std::to_string(Input::rows(batch)));
    return s;
  }

  call<T, Engine> make_call(const slot_memory& s, const pass& how, bool accumulate) const {
    return {parts_->engine, how, s.rows, s.length, accumulate, work_.data(), workspace_.data()};
  }
  static resident_batch<batch_type> data_of(const slot_memory& s, const batch_type& batch) { return s.batch.of(batch); }
  static T* at(const slot_memory& s, std::size_t place) { return s.kept.data() + place * s.rows; }

  // Input and layers; returns where the layers' output is.
  const T* run(const call<T, Engine>& c, slot_memory& s, const T* p, const batch_type& batch, const T* in, T* out) {
    const T* x = at(s, 0);
    if (has_input_) x = parts_->input.forward(c, p, data_of(s, batch), at(s, 0));
    else op::do_copy(parts_->engine, in, at(s, 0), s.rows * border_in_);
    const bool keep = has_head_ || plan_.needs_output;
    if (plan_.steps.empty()) {
      if (!has_head_) op::do_copy(parts_->engine, x, out, s.rows * border_out_);
      return x;
    }
    T* y = keep ? at(s, output_at_) : out;
    parts_->body.forward(c, plan_, p, x, y, at(s, chain_at_));
    if (keep && !has_head_) op::do_copy(parts_->engine, static_cast<const T*>(y), out, s.rows * border_out_);
    return y;
  }
  const T* chain_input(const slot_memory& s, const batch_type& batch) const {
    return has_input_ ? parts_->input.stored(data_of(s, batch), at(s, 0)) : at(s, 0);
  }
  const T* chain_output(const slot_memory& s, const batch_type& batch) const {
    return plan_.steps.empty() ? chain_input(s, batch) : at(s, output_at_);
  }
  kept<T> memory_of(const slot_memory& s, const batch_type& batch) const {
    T* stash = s.stash.data() ? s.stash.data() + (stash_ - plan_.stash) * s.rows : nullptr;
    return {chain_input(s, batch), at(s, output_at_), at(s, chain_at_), stash};
  }
  const T* stashed_gradient(const slot_memory& s) const { return has_head_ && !Head::is_unit ? at(s, head_at_) : s.stash.data(); }
  T* stashed_input(const slot_memory& s) const { return s.stash.data() + detail::padded(std::max(head_store(), border_out_)) * s.rows; }
  void pass_through(const slot_memory& s, const T* dy, T* dx) const {
    if (dx) op::do_copy(parts_->engine, dy, dx, s.rows * (has_input_ ? border_out_ : border_in_));
  }

  void finish_loss(const call<T, Engine>& c, slot_memory& s, const T* p, const batch_type& batch) {
    if (!s.has_gradient) parts_->head.gradient_after_loss(c, p, chain_output(s, batch), data_of(s, batch), at(s, head_at_));
    s.has_gradient = true;
  }
  static void tell(const std::vector<parameter>& parameters, const ready_reference& ready) {
    for (const auto& p : parameters) ready(p.index);
  }
  // An empty batch: its gradient is zero, and every block is ready.
  void nothing(view<T, space> gradient, const pass& how, const ready_reference& ready) const {
    for (std::size_t i = blocks_.size(); i-- > 0;) {
      const auto& block = parts_->layout[blocks_[i]];
      if (!how.accumulate) op::do_zero(parts_->engine, gradient.data() + block.offset, block.count);
      ready(blocks_[i]);
    }
  }

  std::shared_ptr<const parts_type> parts_;
  bool has_input_, has_head_;
  chain_plan plan_;
  std::size_t border_in_ = 0, border_out_ = 0;
  std::size_t chain_at_ = 0, output_at_ = 0, head_at_ = 0, kept_ = 0, scratch_ = 0, stash_ = 0;
  std::vector<std::size_t> blocks_;
  std::vector<slot_memory> slots_;
  buffer<T, space> work_, workspace_;
  std::size_t moves_ = 0;
};

}  // namespace entrain::nn
