// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include <entrain/comm/detail/dispatch.hpp>
#include <entrain/comm/sparse_stream.hpp>
#include <entrain/comm/stepwise.hpp>
#include <entrain/core/error.hpp>

// All-reduce of sparse vectors: recursive doubling on streams that become whole vectors when pairs would be longer
// (Renggli et al., "SparCML: High-Performance Sparse Communication for Machine Learning", SC 2019). Every rank ends with the
// same bits: partners combine the same two operands, the lower rank's first, so the order of combination is a fixed tree
// over the ranks in their order.
//
//   comm::sparse_stream<float> stream(d);
//   stream.append({indices, values});
//   comm::sparse_all_reduce(world, stream);                       // in place: now the sum over ranks
//   auto request = comm::start_sparse_all_reduce(world, stream);  // or not blocking; the stream belongs to it
//
// Any number of ranks: with p' the largest power of two and e = p - p', ranks 2i and 2i + 1 with i < e first combine, and the
// odd one brings the result back at the end.
//
// Messages: a transfer is a header of 16 bytes and, where the stream has entries, its body (sparse_stream::bytes()). A rank
// sends log2(p') transfers, and the odd ones below 2e one more; the even ones below 2e send one in all. Volume of a body
// grows from k pairs to between k (equal supports) and p k (disjoint) pairs, and never beyond the whole vector.
// sent() is exact. Memory: two streams of the same length. Nothing is allocated after the first call of a length.
//
// T{} must be the identity of the operation (0 and sum). Errors: communication_error where ranks give different lengths.

namespace entrain::comm {

namespace sparse_detail {

struct stream_header {
  std::uint64_t size = 0, count_and_form = 0;  // count * 2 + (1: whole)
};

template <communicator C, class T, class Op>
class all_reduce_operation : public stepwise::operation<C> {
  using request = typename C::request;

 public:
  void start(C& c, sparse_stream<T>& stream) {
    this->begin(c);
    target_ = current_ = &stream;
    theirs_ = &memory_[0], spare_ = &memory_[1];
    reserve(stream.size());
    const int p = c.size(), r = c.rank(), core = int(std::bit_floor(unsigned(p))), extra = p - core;
    id_ = r < 2 * extra ? (r % 2 ? r / 2 : -1) : r - extra;
    rounds_ = std::countr_zero(unsigned(core));
    folds_ = r < 2 * extra;
    extra_ = extra, at_ = 0;
    last_ = id_ < 0 ? 2 : rounds_ + 2 * int(folds_);
    if (at_ < last_) post();
  }

  bool advance() {
    while (at_ < last_) {
      if (step_.receives && !body_asked_) {
        if (!incoming_.test()) return false;
        ask_body();
      }
      if (!arriving_body().test() || !leaving_[0].test() || !leaving_[1].test()) return false;
      combine();
      ++this->moves;
      if (++at_ < last_) post();
      else if (current_ != target_) target_->copy_from(*current_);
    }
    return true;
  }
  void block() {
    if (step_.receives && !body_asked_) return incoming_.wait();
    body_.wait(), leaving_[0].wait(), leaving_[1].wait();
  }
  void forget() noexcept { incoming_ = request{}, body_ = request{}, leaving_[0] = request{}, leaving_[1] = request{}; }
  std::size_t bytes() const { return memory_[0].capacity_bytes() + memory_[1].capacity_bytes(); }
  static std::size_t bytes_for(const std::size_t& length) { return 4 * length * sizeof(T); }
  void reserve(std::size_t length) {
    for (auto& m : memory_) m.reset(length);
  }

 private:
  struct step {
    int peer = 0;
    bool sends = false, receives = false, merges = false;
  };
  request& arriving_body() { return body_; }

  // Step number at_: [fold in], log2 exchanges, [bring back].
  step describe() const {
    const int r = this->comm().rank();
    if (id_ < 0) return at_ == 0 ? step{r + 1, true, false, false} : step{r + 1, false, true, false};
    if (folds_ && at_ == 0) return {r - 1, false, true, true};
    const int round = at_ - int(folds_);
    if (round == rounds_) return {r - 1, true, false, false};
    const int other = id_ ^ (1 << round);
    return {other < extra_ ? 2 * other + 1 : other + extra_, true, true, true};
  }
  void post() {
    step_ = describe();
    body_asked_ = false;
    if (step_.receives) incoming_ = this->receive(view<stream_header>(&header_in_, 1), step_.peer);
    if (!step_.sends) return;
    header_out_ = {current_->size(), 2 * std::uint64_t(current_->dense() ? current_->size() : current_->count()) + current_->dense()};
    leaving_[0] = this->send(view<const stream_header>(&header_out_, 1), step_.peer);
    if (current_->bytes() > 0) leaving_[1] = this->send(current_->body(), step_.peer, 1);
  }
  void ask_body() {
    body_asked_ = true;
    const std::size_t count = header_in_.count_and_form / 2, size = target_->size();
    if (header_in_.size != size || count > size)
      throw communication_error("comm::sparse_all_reduce", entrain::detail::text("rank ", this->comm().rank(), " and rank ", step_.peer, " give vectors of different lengths"),
                                entrain::detail::text(size), entrain::detail::text(header_in_.size));
    const view<std::byte> room = theirs_->receive_form(count, header_in_.count_and_form % 2 == 1);
    if (!room.empty()) body_ = this->receive(room, step_.peer, 1);
  }
  void combine() {
    if (!step_.receives) return;
    if (!step_.merges) return std::swap(current_, theirs_);
    const bool lower = step_.peer < this->comm().rank();
    const std::size_t work = theirs_->bytes();
    sparse_stream<T>* const result = lower ? &merge_add(*theirs_, *current_, *spare_, Op{}) : &merge_add(*current_, *theirs_, *spare_, Op{});
    if (result == theirs_) std::swap(current_, theirs_);
    else if (result == spare_) std::swap(current_, spare_);
    this->computed(work);
  }

  sparse_stream<T> memory_[2];
  sparse_stream<T>*target_ = nullptr, *current_ = nullptr, *theirs_ = nullptr, *spare_ = nullptr;
  stream_header header_in_, header_out_;
  request incoming_{}, body_{};
  std::array<request, 2> leaving_{};
  step step_;
  int id_ = 0, rounds_ = 0, extra_ = 0, at_ = 0, last_ = 0;  // id_: among the p', -1 for those that are folded in
  bool folds_ = false, body_asked_ = false;
};

}  // namespace sparse_detail

template <communicator C, class T, class Op = sum>
using sparse_all_reduce_request = stepwise::request<C, sparse_detail::all_reduce_operation<C, T, Op>>;

template <communicator C, class T, class Op = sum>
sparse_all_reduce_request<C, T, Op> start_sparse_all_reduce(C& c, sparse_stream<T>& stream, Op = {}) {
  static_assert(operation_on<Op, T>, "entrain: this reduction operation cannot combine elements of this type");
  detail::count_collective(c, stream.bytes());
  using operation = sparse_detail::all_reduce_operation<C, T, Op>;
  stepwise::pooled<operation> op(operation::bytes_for(stream.size()));
  op->start(c, stream);
  return sparse_all_reduce_request<C, T, Op>(std::move(op));
}

// Memory for as many in flight at once as there are lengths: then not even the first of them allocates, whatever the timing.
template <communicator C, class T, class Op = sum>
void reserve_sparse_all_reduces(const std::vector<std::size_t>& lengths) {
  using operation = sparse_detail::all_reduce_operation<C, T, Op>;
  stepwise::pooled<operation>::reserve(lengths, &operation::bytes_for, [](operation& op, std::size_t length) { op.reserve(length); });
}

// The blocking form. Returns what this rank has sent.
template <communicator C, class T, class Op = sum>
sent_messages sparse_all_reduce(C& c, sparse_stream<T>& stream, Op op = {}) {
  auto request = start_sparse_all_reduce(c, stream, op);
  request.wait();
  return request.sent();
}

}  // namespace entrain::comm
