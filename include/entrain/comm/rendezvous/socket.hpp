// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <entrain/comm/detail/file_handle.hpp>
#include <entrain/core/error.hpp>

// TCP as far as a rendezvous needs it: sockets that never block, and waits that end.

namespace entrain::comm::rendezvous_detail {

using comm::detail::file_handle;

// An end in time.
class deadline {
 public:
  using clock = std::chrono::steady_clock;
  explicit deadline(std::chrono::milliseconds after) : end_(clock::now() + after) {}
  bool passed() const { return clock::now() >= end_; }
  // For poll(): at least 1 until it has passed, and never more than `most`.
  int left(std::chrono::milliseconds most) const {
    const auto rest = std::chrono::ceil<std::chrono::milliseconds>(end_ - clock::now());
    return int(std::clamp(rest, std::chrono::milliseconds(0), most).count());
  }
  deadline sooner(std::chrono::milliseconds after) const {
    deadline out(after);
    out.end_ = std::min(out.end_, end_);
    return out;
  }

 private:
  clock::time_point end_;
};

inline std::string reason(int error) { return std::strerror(error); }

struct address {
  sockaddr_storage where{};
  socklen_t length = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&where); }
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&where); }
  // "127.0.0.1:4000", "[::1]:4000"
  std::string text() const {
    char host[NI_MAXHOST] = "", port[NI_MAXSERV] = "";
    if (::getnameinfo(get(), length, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) != 0) return "an unknown address";
    const bool six = where.ss_family == AF_INET6;
    return entrain::detail::text(six ? "[" : "", host, six ? "]" : "", ':', port);
  }
};

// All addresses of a host; none, and why, if there are none. The system's resolver may take its own time.
inline std::vector<address> resolve(std::string host, std::uint16_t port, int flags, std::string& why) {
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  addrinfo wanted{}, *found = nullptr;
  wanted.ai_family = AF_UNSPEC, wanted.ai_socktype = SOCK_STREAM, wanted.ai_flags = flags | AI_NUMERICSERV;
  const int failed = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &wanted, &found);
  if (failed != 0) why = entrain::detail::text("the name '", host, "': ", ::gai_strerror(failed));
  std::vector<address> out;
  for (const auto* one = failed == 0 ? found : nullptr; one; one = one->ai_next) {
    out.emplace_back();
    std::memcpy(&out.back().where, one->ai_addr, one->ai_addrlen);
    out.back().length = one->ai_addrlen;
  }
  if (failed == 0) ::freeaddrinfo(found);
  return out;
}

// Waits until the socket can be read or written, or has failed; false at the deadline.
inline bool ready(const file_handle& socket, short events, const deadline& end) {
  for (;;) {
    pollfd one{socket.get(), events, 0};
    const int n = ::poll(&one, 1, end.left(std::chrono::seconds(1)));
    if (n > 0) return true;
    if (n == 0 && end.passed()) return false;
    if (n < 0 && errno != EINTR) return false;
  }
}

// A connection to one address; none, and why, if it does not come about.
inline file_handle connect(const address& to, const deadline& end, std::string& why) {
  file_handle socket(::socket(to.where.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const auto failed = [&](int error) {
    why = entrain::detail::text(to.text(), ": ", reason(error));
    return file_handle();
  };
  if (!socket) return failed(errno);
  if (::connect(socket.get(), to.get(), to.length) != 0) {
    if (errno != EINPROGRESS && errno != EINTR) return failed(errno);
    if (!ready(socket, POLLOUT, end)) return failed(ETIMEDOUT);
    int error = 0;
    socklen_t size = sizeof error;
    if (::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0) return failed(error != 0 ? error : errno);
  }
  address own, other;  // a port that nobody listens at may be given to the caller itself: it then talks to itself
  own.length = other.length = sizeof own.where;
  if (::getsockname(socket.get(), own.get(), &own.length) != 0 || ::getpeername(socket.get(), other.get(), &other.length) != 0) return failed(errno);
  if (own.text() == other.text()) return failed(ECONNREFUSED);
  return socket;
}

enum class outcome { done, closed, late };

inline bool would_block(int error) { return error == EAGAIN || error == EWOULDBLOCK; }

inline outcome send_all(const file_handle& socket, std::span<const std::byte> data, const deadline& end) {
  while (!data.empty()) {
    const auto sent = ::send(socket.get(), data.data(), data.size(), MSG_NOSIGNAL);
    if (sent > 0) data = data.subspan(std::size_t(sent));
    else if (sent < 0 && would_block(errno)) {
      if (!ready(socket, POLLOUT, end)) return outcome::late;
    } else if (sent == 0 || errno != EINTR) return outcome::closed;
  }
  return outcome::done;
}
// What has come stands at the front of `data`, `got` bytes.
inline outcome receive_all(const file_handle& socket, std::span<std::byte> data, std::size_t& got, const deadline& end) {
  for (got = 0; got < data.size();) {
    const auto some = ::recv(socket.get(), data.data() + got, data.size() - got, 0);
    if (some > 0) got += std::size_t(some);
    else if (some < 0 && would_block(errno)) {
      if (!ready(socket, POLLIN, end)) return outcome::late;
    } else if (some == 0 || errno != EINTR) return outcome::closed;
  }
  return outcome::done;
}

}  // namespace entrain::comm::rendezvous_detail
