// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include <entrain/comm/ok_topk/memory.hpp>
#include <entrain/comm/stepwise.hpp>
#include <entrain/core/batch.hpp>
#include <entrain/core/error.hpp>

// One step of comm/ok_topk.hpp as a state machine: phases, each a row of transfers whose sizes both ends know, at most four
// of them under way. Phases without transfers (one rank, nothing to re-estimate) pass at once.

namespace entrain::comm::ok_top_k_detail {

inline constexpr std::size_t concurrent = 4;

template <communicator C, class T>
class operation : public stepwise::operation<C> {
  using request = typename C::request;
  using list = pairs<T>;
  enum class phase { proposals, counts, bodies, nonzero_counts, nonzeros, kept_counts, balance, result, finished };

 public:
  void start(C& c, memory<T>& state, std::span<const T> values) {
    this->begin(c);
    m_ = &state, p_ = state.ranks, r_ = std::size_t(c.rank());
    m_->select(values);
    if (m_->boundaries_due()) m_->propose(r_);
    enter(phase::proposals);
  }

  bool advance() {
    while (at_ != phase::finished) {
      if (!transfers_done()) return false;
      ++this->moves;
      leave(at_);
    }
    return true;
  }
  void block() {
    incoming_[done_ % concurrent].wait();
    outgoing_[done_ % concurrent].wait();
  }
  void forget() noexcept {
    for (auto& r : incoming_) r = request{};
    for (auto& r : outgoing_) r = request{};
  }
  std::size_t bytes() const { return 0; }

 private:
  // ---- a row of transfers: round j goes to and comes from ...
  std::size_t right() const { return (r_ + 1) % p_; }
  std::size_t left() const { return (r_ + p_ - 1) % p_; }
  // In the ring the piece that goes in round j, and the one that comes.
  std::size_t ring_out(std::size_t j) const { return (r_ + p_ - j) % p_; }
  std::size_t ring_in(std::size_t j) const { return (r_ + 2 * p_ - j - 1) % p_; }
  bool in_ring() const { return at_ != phase::counts && at_ != phase::bodies && at_ != phase::balance; }

  bool transfers_done() {
    const std::size_t wide = in_ring() ? 1 : concurrent;  // what goes on in the ring must have come first
    for (;;) {
      for (; posted_ < rounds_ && posted_ < done_ + wide; ++posted_) post(posted_);
      if (done_ == rounds_) return true;
      if (!incoming_[done_ % concurrent].test() || !outgoing_[done_ % concurrent].test()) return false;
      ++done_, ++this->moves;
    }
  }
  void exchange(std::size_t j, view<const std::byte> out, std::size_t to, view<std::byte> in, std::size_t from) {
    if (!in.empty()) incoming_[j % concurrent] = this->receive(in, int(from));
    if (!out.empty()) outgoing_[j % concurrent] = this->send(out, int(to));
  }
  template <class U>
  static view<const std::byte> raw(const U* at, std::size_t n) { return {reinterpret_cast<const std::byte*>(at), n * sizeof(U)}; }
  template <class U>
  static view<std::byte> room(U* at, std::size_t n) { return {reinterpret_cast<std::byte*>(at), n * sizeof(U)}; }

  // A table of one row a rank, of `width` numbers each.
  void ring_of_rows(std::size_t j, std::uint32_t* table, std::size_t width) {
    exchange(j, raw(table + width * ring_out(j), width), right(), room(table + width * ring_in(j), width), left());
  }
  // Pieces of counts[q] elements of `bytes` bytes, one behind the other.
  void ring_of_pieces(std::size_t j, std::byte* at, const std::uint32_t* counts, std::size_t bytes) {
    const std::size_t out = ring_out(j), in = ring_in(j);
    exchange(j, raw(at + before(counts, out) * bytes, counts[out] * bytes), right(), room(at + before(counts, in) * bytes, counts[in] * bytes), left());
  }
  static std::size_t before(const std::uint32_t* counts, std::size_t rank) {
    std::size_t sum = 0;
    for (std::size_t q = 0; q < rank; ++q) sum += counts[q];
    return sum;
  }

  void post(std::size_t j) {
    memory<T>& m = *m_;
    const std::size_t to = (r_ + j + 1) % p_, from = (r_ + p_ - j - 1) % p_;
    switch (at_) {
      case phase::proposals: return ring_of_rows(j, m.proposals.data(), p_ - 1);
      case phase::counts: return exchange(j, raw(&m.send_counts[to], 1), to, room(&m.receive_counts[from], 1), from);
      case phase::bodies:
        return exchange(j, raw(m.outgoing.data() + before(m.send_counts.data(), to) * list::bytes, m.send_counts[to] * list::bytes), to,
                        room(m.incoming.data() + before(m.receive_counts.data(), from) * list::bytes, m.receive_counts[from] * list::bytes), from);
      case phase::nonzero_counts: return ring_of_rows(j, m.nonzero_counts.data(), 1);
      case phase::nonzeros: return ring_of_pieces(j, m.nonzeros.data(), m.nonzero_counts.data(), sizeof(T));
      case phase::kept_counts: return ring_of_rows(j, m.kept_counts.data(), 1);
      case phase::balance: {
        const auto out = moved(r_, to), in = moved(from, r_);
        return exchange(j, raw(m.outgoing.data() + out.first * list::bytes, out.count * list::bytes), to,
                        room(m.incoming.data() + in.to * list::bytes, in.count * list::bytes), from);
      }
      case phase::result: return ring_of_pieces(j, m.gathered.data(), m.kept_counts.data(), list::bytes);
      case phase::finished: return;
    }
  }

  // ---- balance: entry i of all kept ones goes to the rank of whose equal part it is
  std::size_t kept() const { return before(m_->kept_counts.data(), p_); }
  std::size_t first_of(std::size_t rank) const { return before(m_->kept_counts.data(), rank); }
  part target(std::size_t rank) const { return nth_part(kept(), rank, p_); }
  struct surplus {
    std::size_t first = 0, to = 0, count = 0;  // counted from the first entry of who has them, and of who gets them
  };
  surplus moved(std::size_t from, std::size_t to) const {
    const part goal = target(to);
    const std::size_t start = first_of(from), begin = std::max(start, goal.first), end = std::min(start + m_->kept_counts[from], goal.first + goal.count);
    return begin < end ? surplus{begin - start, begin - goal.first, end - begin} : surplus{};
  }

  // ---- the work between
  void enter(phase p) {
    at_ = p, posted_ = done_ = 0;
    const bool due = p == phase::proposals ? m_->boundaries_due() : p == phase::nonzero_counts || p == phase::nonzeros ? m_->global_due()
                                                                                             : p != phase::balance || m_->unbalanced();
    rounds_ = due ? p_ - 1 : 0;
    if (p == phase::balance && due) pack_surplus();
    if (p == phase::result) m_->place_own(r_, first_of(r_));
  }
  void leave(phase ended) {
    memory<T>& m = *m_;
    switch (ended) {
      case phase::proposals: m.set_boundaries(), m.split(r_); return enter(phase::counts);
      case phase::counts: return enter(phase::bodies);
      case phase::bodies: m.reduce(r_), this->computed(m.received * sizeof(T)); return enter(phase::nonzero_counts);
      case phase::nonzero_counts:
        if (m.global_due()) m.place_nonzeros(r_, before(m.nonzero_counts.data(), r_));
        return enter(phase::nonzeros);
      case phase::nonzeros:
        if (m.global_due()) m.set_global_threshold(before(m.nonzero_counts.data(), p_));
        m.keep(r_);
        return enter(phase::kept_counts);
      case phase::kept_counts: m.cut(); return enter(phase::balance);
      case phase::balance:
        if (rounds_ > 0) take_surplus();
        return enter(phase::result);
      case phase::result: m.finish(kept()); return enter(phase::finished);
      case phase::finished: return;
    }
  }
  void pack_surplus() {
    memory<T>& m = *m_;
    for (std::size_t q = 0; q < p_; ++q) {
      const surplus out = moved(r_, q);
      list::pack(m.kept_indices.data() + out.first, m.kept_values.data() + out.first, out.count, m.outgoing.data() + out.first * list::bytes);
    }
  }
  void take_surplus() {
    memory<T>& m = *m_;
    for (std::size_t q = 0; q < p_; ++q) {
      const surplus in = moved(q, r_);
      const std::byte* from = q == r_ ? m.outgoing.data() + in.first * list::bytes : m.incoming.data() + in.to * list::bytes;
      list::unpack(from, in.count, m.kept_indices.data() + in.to, m.kept_values.data() + in.to);
    }
    const std::size_t all = kept();
    for (std::size_t q = 0; q < p_; ++q) m.kept_counts[q] = std::uint32_t(nth_part(all, q, p_).count);
    m.rebalanced = true;
  }

  memory<T>* m_ = nullptr;
  std::size_t p_ = 1, r_ = 0, rounds_ = 0, posted_ = 0, done_ = 0;
  phase at_ = phase::finished;
  std::array<request, concurrent> incoming_{}, outgoing_{};
};

}  // namespace entrain::comm::ok_top_k_detail
