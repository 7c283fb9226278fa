// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>
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
    auto used = std::move(room_);  // comes back when all agree
    const unless_agreed guard{*this, used};
    exchange(*used, mine, send);
    if (const auto missing = missing_ranks(*used); !missing.empty()) throw communication_error(where, sentence(*used, missing));
    if (auto text = disagreement(used->said); !text.empty()) throw communication_error(where, text);
    if (!receive.empty()) compare_sizes(*used, where, receive);
    used->before = used->said;
    room_ = std::move(used);
  }
  std::uint64_t sequence() const { return sequence_; }

 private:
  struct room {
    explicit room(std::size_t ranks) : mine(ranks), said(ranks), before(ranks), sends(ranks), receives(ranks) {}
    std::vector<signature> mine, said, before;  // one for each receiver; what each rank says now; what it said last time
    std::vector<typename C::request> sends, receives;
  };
  // While an exception passes: drops what is in flight, keeps its memory, marks the group as broken.
  struct unless_agreed {
    meeting& self;
    std::unique_ptr<room>& left;
    ~unless_agreed() {
      if (!left) return;
      left->sends.clear(), left->receives.clear();
      abandon(std::move(left));
      if constexpr (requires { self.inner_->fail(); }) self.inner_->fail();
    }
  };

  void exchange(room& r, const signature& mine, std::span<const std::size_t> send) {
    const std::size_t me = std::size_t(inner_->rank());
    for (std::size_t peer = 0; peer < r.mine.size(); ++peer) {
      r.mine[peer] = mine;
      if (!send.empty()) r.mine[peer].for_receiver = send[peer];
      if (peer != me) r.receives[peer] = inner_->start_receive(view<signature>(&r.said[peer], 1), int(peer), meeting_tag);
    }
    r.said[me] = r.mine[me];
    for (std::size_t peer = 0; peer < r.mine.size(); ++peer)
      if (peer != me) r.sends[peer] = inner_->start_send(view<const signature>(&r.mine[peer], 1), int(peer), meeting_tag);
    poll([&] { return missing_ranks(r).empty(); }, limit_);
  }

  static std::vector<int> missing_ranks(room& r) {
    std::vector<int> out;
    for (std::size_t peer = 0; peer < r.sends.size(); ++peer) {
      const bool sent = r.sends[peer].test(), received = r.receives[peer].test();
      if (!sent || !received) out.push_back(int(peer));
    }
    return out;
  }

  std::string sentence(const room& r, const std::vector<int>& missing) const {
    std::string out;
    for (const int rank : missing) {
      const auto& last = r.before[std::size_t(rank)];
      out += (out.empty() ? "" : "; ") + std::string("rank ") + std::to_string(rank) + " did not arrive within " + text_of(limit_);
      out += last.sequence == 0 ? std::string("; it has called no collective of this group yet")
                                : "; it was last seen in " + describe(last, false) + " #" + std::to_string(last.sequence);
    }
    return out;
  }

  void compare_sizes(const room& r, const std::string& where, std::span<const std::size_t> receive) const {
    for (std::size_t peer = 0; peer < receive.size(); ++peer)
      if (const auto sent = r.said[peer].for_receiver; sent != receive[peer])
        throw communication_error(where, "rank " + std::to_string(peer) + " sends " + std::to_string(sent) + " elements to rank " +
                                             std::to_string(inner_->rank()) + ", which expects " + std::to_string(receive[peer]));
  }

  C* inner_;
  duration limit_;
  std::uint64_t sequence_ = 0;
  std::unique_ptr<room> room_;
};

}  // namespace entrain::comm::checked_detail
