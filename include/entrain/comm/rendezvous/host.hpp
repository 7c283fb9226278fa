// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <entrain/comm/rendezvous/records.hpp>
#include <entrain/comm/rendezvous/socket.hpp>

// Rank 0 of a rendezvous: listens when it is made, and gives when all others have come.

namespace entrain::comm {

// Port 0 of `job` is any free one, which port() tells. Listens at the loopback or the address that `job.host` is, where it is one of this
// machine's, else at all of this machine's addresses: a name may mean another address here than elsewhere. Errors: usage_error,
// communication_error.
class rendezvous_host {
 public:
  explicit rendezvous_host(job_address job) : job_(std::move(job)) {
    job_.check();
    if (job_.rank != 0) throw usage_error("comm::rendezvous_host", "only one rank listens", "rank 0", entrain::detail::text("rank ", job_.rank));
    if (job_.size > 1) listen();
  }
  const job_address& job() const { return job_; }
  std::uint16_t port() const { return job_.port; }

  // All others get `data` when all have come, or the reason why not, which is thrown here, too. Once.
  void give(std::span<const std::byte> data, std::chrono::milliseconds within) {
    if (job_.size == 1) return;
    if (!listening_) throw usage_error(who(), "a rendezvous takes place once", "a new rendezvous_host", "one that has given");
    const detail::file_handle listening = std::exchange(listening_, detail::file_handle());
    const rendezvous_detail::deadline end(within);
    while (here_ < job_.size - 1) {
      if (end.passed()) fail(missing(within));
      look(listening, end);
    }
    const auto answer = rendezvous_detail::reply::write(data);
    for (auto& one : guests_)
      if (one.rank > 0) (void)send_all(one.socket, answer, end);  // who is gone will be missed where the data are used
    guests_.clear();
  }

 private:
  using refusal = rendezvous_detail::refusal;
  using hello = rendezvous_detail::hello;
  struct guest {
    detail::file_handle socket;
    std::string from;
    rendezvous_detail::deadline silence{std::chrono::seconds(10)};  // until it has said who it is
    std::array<std::byte, hello::bytes> said{};
    std::size_t got = 0;
    int rank = 0;  // 0: unknown
    bool gone = false;
  };

  std::string who() const { return entrain::detail::text("comm::rendezvous_host, rank 0 of ", job_.size, " at ", job_.text()); }

  void listen() {
    std::string why;
    auto exact = rendezvous_detail::resolve(job_.host == "localhost" ? "127.0.0.1" : job_.host, job_.port, AI_NUMERICHOST, why);
    if (exact.empty() || !listen_at(exact, why)) {
      sockaddr_in6 six{};
      six.sin6_family = AF_INET6, six.sin6_port = htons(job_.port);  // IPv4 too
      sockaddr_in four{};
      four.sin_family = AF_INET, four.sin_port = htons(job_.port);
      std::vector<rendezvous_detail::address> any(2);
      std::memcpy(&any[0].where, &six, any[0].length = sizeof six);
      std::memcpy(&any[1].where, &four, any[1].length = sizeof four);
      if (!listen_at(any, why)) throw communication_error(who(), "cannot listen", "a free port of this machine", why);
    }
  }
  bool listen_at(std::vector<rendezvous_detail::address>& addresses, std::string& why) {
    for (auto& at : addresses) {
      detail::file_handle socket(::socket(at.where.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
      const int on = 1, off = 0;
      if (socket) {
        (void)::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        if (at.where.ss_family == AF_INET6) (void)::setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
      }
      if (!socket || ::bind(socket.get(), at.get(), at.length) != 0 || ::listen(socket.get(), 4096) != 0 || ::getsockname(socket.get(), at.get(), &at.length) != 0) {
        const int error = errno;
        why = entrain::detail::text(at.text(), ": ", rendezvous_detail::reason(error));
        if (error == EADDRINUSE) throw communication_error(who(), "cannot listen", "a free port of this machine", why);
        continue;
      }
      const auto text = at.text();
      job_.port = std::uint16_t(std::stoul(text.substr(text.rfind(':') + 1)));
      listening_ = std::move(socket);
      return true;
    }
    return false;
  }

  // Waits for something to happen, for a second at most.
  void look(const detail::file_handle& listening, const rendezvous_detail::deadline& end) {
    polls_.assign(1, {listening.get(), POLLIN, 0});
    for (const auto& one : guests_) polls_.push_back({one.socket.get(), POLLIN, 0});
    (void)::poll(polls_.data(), nfds_t(polls_.size()), end.left(std::chrono::seconds(1)));
    for (const bool known : {true, false})  // first who has left, so that nobody meets himself when he comes again
      for (std::size_t i = 0; i < guests_.size(); ++i)
        if ((guests_[i].rank > 0) == known && !guests_[i].gone) hear(guests_[i], polls_[i + 1].revents != 0);
    std::erase_if(guests_, [](const guest& one) { return one.gone; });
    if (polls_[0].revents != 0) welcome(listening);
  }
  void welcome(const detail::file_handle& listening) {
    for (;;) {
      rendezvous_detail::address from;
      from.length = sizeof from.where;
      detail::file_handle socket(::accept4(listening.get(), from.get(), &from.length, SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (socket) {
        guests_.emplace_back();
        guests_.back().socket = std::move(socket), guests_.back().from = from.text();
      } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        fail({"no more connections can be taken", entrain::detail::text("one open file for each of ", job_.size, " ranks (ulimit -n)"), rendezvous_detail::reason(errno)});
      } else if (errno != EINTR && errno != ECONNABORTED) {
        return;
      }
    }
  }
  void hear(guest& one, bool something) {
    if (one.rank > 0) {
      if (something) leave(one, entrain::detail::text("rank ", one.rank, " at ", one.from, ", which left again"));
      return;
    }
    while (something && one.got < hello::bytes) {
      const auto some = ::recv(one.socket.get(), one.said.data() + one.got, hello::bytes - one.got, 0);
      if (some < 0 && errno == EINTR) continue;
      if (some < 0 && rendezvous_detail::would_block(errno)) break;
      if (some <= 0) return leave(one, entrain::detail::text(one.from, ", which left without a word"));
      one.got += std::size_t(some);
    }
    const auto said = std::span(one.said).first(one.got);
    if (!rendezvous_detail::begins_with(said, rendezvous_detail::hello_magic))
      return leave(one, entrain::detail::text(one.from, ", which is no rank of this library and said ", rendezvous_detail::quoted(said)));
    if (one.got == hello::bytes) meet(one, hello::read(one.said));
    else if (one.silence.passed()) leave(one, entrain::detail::text(one.from, ", which said nothing"));
  }
  void meet(guest& one, const hello& said) {
    const auto text = [](const auto&... parts) { return entrain::detail::text(parts...); };
    if (said.key != job_.key) {
      const refusal why{text("rank ", said.rank, " at ", one.from, " belongs to another run"), text("the key '", job_.key, "'"), text("'", said.key, "'")};
      (void)send_all(one.socket, rendezvous_detail::reply::write(why), rendezvous_detail::deadline(std::chrono::milliseconds(0)));
      return leave(one, text(one.from, ", a rank of the run '", said.key, "'"));
    }
    one.rank = std::max(1, int(said.rank & 0x7fffffff));  // from here on it hears why not
    if (said.size != std::uint32_t(job_.size)) fail({text("rank ", said.rank, " at ", one.from, " belongs to a group of another size"), text(job_.size, " ranks"), text(said.size, " ranks")});
    if (said.rank < 1 || said.rank >= said.size) fail({text(one.from, " is no such rank"), text("a rank in [1, ", job_.size, ")"), text("rank ", said.rank)});
    for (const auto& other : guests_)
      if (&other != &one && other.rank == one.rank && !other.gone) fail({text("rank ", said.rank, " has come twice"), "every rank once", text(other.from, " and ", one.from)});
    ++here_;
  }
  void leave(guest& one, std::string note) {
    one.gone = true;
    if (one.rank > 0) --here_;
    if (notes_.size() < 4) notes_.push_back(std::move(note));
  }

  refusal missing(std::chrono::milliseconds within) const {
    std::string ranks, others;
    for (int r = 1, named = 0; r < job_.size && named < 9; ++r)
      if (std::none_of(guests_.begin(), guests_.end(), [&](const guest& one) { return one.rank == r; })) {
        ranks += entrain::detail::text(ranks.empty() ? "" : ", ", named == 8 ? "..." : std::to_string(r)), ++named;
      }
    for (const auto& note : notes_) others += entrain::detail::text(others.empty() ? "; there came " : "; ", note);
    return {entrain::detail::text("not all ranks have come within ", within.count(), " ms"), entrain::detail::text(job_.size - 1, " ranks beside rank 0"),
            entrain::detail::text(here_, ", without rank ", ranks, others)};
  }
  [[noreturn]] void fail(refusal why) {
    const auto answer = rendezvous_detail::reply::write(why);
    for (auto& one : guests_)
      if (one.rank > 0 && !one.gone) (void)send_all(one.socket, answer, rendezvous_detail::deadline(std::chrono::milliseconds(0)));
    guests_.clear();
    throw communication_error(who(), std::move(why.wrong), std::move(why.expected), std::move(why.found));
  }

  job_address job_;
  detail::file_handle listening_;
  std::vector<guest> guests_;
  std::vector<pollfd> polls_;
  std::vector<std::string> notes_;
  int here_ = 0;
};

}  // namespace entrain::comm
