// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <entrain/comm/checked/request.hpp>
#include <entrain/comm/checked/signature.hpp>
#include <entrain/comm/concepts.hpp>

// Where ranks meet before a collective: each sends its signature to all others and reads theirs, so that every rank comes to
// the same verdict by itself and nobody waits for somebody's word on the way to an error.

namespace entrain::comm::checked_detail {

inline constexpr int meeting_tag = 32766;

template <class C>
class meeting {
 public:
  meeting(C& inner, duration limit) : inner_(&inner), limit_(limit), room_(std::make_unique<room>(std::size_t(inner.size()))) {}

  // Returns when all ranks have said the same. `send` and `receive`: the counts of all_to_all_v, else empty.
  // Throws communication_error in at most the deadline; then the group is broken.
  void agree(signature mine, std::span<const std::size_t> send = {}, std::span<const std::size_t> receive = {}) {
    mine.sequence = ++sequence_;
    const std::string where = "checked " + kind_name(mine) + " #" + std::to_string(sequence_);
    if (!room_) throw communication_error(where, "this communicator has failed before");
    try {
      exchange(mine, send);
      if (const auto missing = missing_ranks(); !missing.empty()) throw communication_error(where, sentence(missing));
      if (auto text = disagreement(room_->said); !text.empty()) throw communication_error(where, text);
      if (!receive.empty()) compare_sizes(where, receive);
      room_->before = room_->said;
    } catch (...) {
      give_up();
      throw;
    }
  }

  // Marks the group as broken and puts what is in flight where it can stay.
  void give_up() noexcept {
    if (room_) abandon(std::move(room_));
    room_.reset();
    if constexpr (requires { inner_->fail(); }) inner_->fail();
  }
  std::uint64_t sequence() const { return sequence_; }

 private:
  struct room {
    explicit room(std::size_t ranks) : mine(ranks), said(ranks), before(ranks), sends(ranks), receives(ranks) {}
    std::vector<signature> mine, said, before;  // one for each receiver; what each rank says now; what it said last time
    std::vector<typename C::request> sends, receives;
  };

  void exchange(const signature& mine, std::span<const std::size_t> send) {
    auto& r = *room_;
    const std::size_t me = std::size_t(inner_->rank());
    for (std::size_t peer = 0; peer < r.mine.size(); ++peer) {
      r.mine[peer] = mine;
      if (!send.empty()) r.mine[peer].for_receiver = send[peer];
      if (peer != me) r.receives[peer] = inner_->start_receive(view<signature>(&r.said[peer], 1), int(peer), meeting_tag);
    }
    r.said[me] = r.mine[me];
    for (std::size_t peer = 0; peer < r.mine.size(); ++peer)
      if (peer != me) r.sends[peer] = inner_->start_send(view<const signature>(&r.mine[peer], 1), int(peer), meeting_tag);
    poll([&] { return missing_ranks().empty(); }, limit_);
  }

  std::vector<int> missing_ranks() {
    std::vector<int> out;
    for (std::size_t peer = 0; peer < room_->sends.size(); ++peer) {
      const bool sent = room_->sends[peer].test(), received = room_->receives[peer].test();
      if (!sent || !received) out.push_back(int(peer));
    }
    return out;
  }

  std::string sentence(const std::vector<int>& missing) const {
    std::string out;
    for (const int rank : missing) {
      const auto& last = room_->before[std::size_t(rank)];
      out += (out.empty() ? "" : "; ") + std::string("rank ") + std::to_string(rank) + " did not arrive within " + text_of(limit_);
      out += last.sequence == 0 ? std::string("; it has called no collective of this group yet")
                                : "; it was last seen in " + describe(last, false) + " #" + std::to_string(last.sequence);
    }
    return out;
  }

  void compare_sizes(const std::string& where, std::span<const std::size_t> receive) const {
    for (std::size_t peer = 0; peer < receive.size(); ++peer)
      if (const auto sent = room_->said[peer].for_receiver; sent != receive[peer])
        throw communication_error(where, "rank " + std::to_string(peer) + " sends " + std::to_string(sent) + " elements to rank " +
                                             std::to_string(inner_->rank()) + ", which expects " + std::to_string(receive[peer]));
  }

  C* inner_;
  duration limit_;
  std::uint64_t sequence_ = 0;
  std::unique_ptr<room> room_;
};

}  // namespace entrain::comm::checked_detail
