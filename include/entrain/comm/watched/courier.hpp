// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <type_traits>
#include <utility>
#include <vector>

#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <entrain/comm/detail/file_handle.hpp>
#include <entrain/comm/watched/board.hpp>

// Carries rows between the boards of different nodes, a few times a deadline: the first rank of each node sends its node's rows to
// those of all others over TCP. Nothing here blocks, and a node that cannot be reached is as good as unknown: the job does not
// depend on it. Records are of fixed size, between machines of one kind, and begin with a number drawn for the job, so that what comes
// from elsewhere is dropped.

namespace entrain::comm::watched_detail {

struct row_record {
  std::uint64_t job;
  std::int64_t sent;  // the sender's clock
  std::uint32_t rank, process, thread, state, dead, letter;
  std::int64_t since;
  std::uint32_t lines, events;
  std::array<line_picture, board::lines> line;
  std::array<event, board::mirrored_events> last;
};
static_assert(std::is_trivially_copyable_v<row_record>);

// Where a node listens. IPv4; 0: none.
struct meeting_point {
  std::uint64_t number = 0;  // drawn; the sum of all is the job's
  std::array<std::uint32_t, 4> address{};
  std::uint16_t port = 0;
};

using comm::detail::file_handle;

class courier {
 public:
  // Listens.
  courier() {
    file_handle socket(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    sockaddr_in any{};
    any.sin_family = AF_INET;
    socklen_t size = sizeof any;
    if (!socket || ::bind(socket.get(), reinterpret_cast<sockaddr*>(&any), size) != 0 || ::listen(socket.get(), 64) != 0) return;
    if (::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&any), &size) != 0) return;
    where_.port = ntohs(any.sin_port);
    where_.address = own_addresses();
    std::random_device random;
    where_.number = std::uint64_t(random()) << 32 | random();
    listening_ = std::move(socket);
  }
  const meeting_point& where() const { return where_; }
  // Where all nodes listen, in one order on all of them, and which of them this is: it will call those before it.
  void know(const std::vector<meeting_point>& nodes, std::size_t own) {
    for (const auto& node : nodes) job_ += node.number;
    for (std::size_t i = 0; i < own; ++i)
      if (nodes[i].port != 0) targets_.push_back({nodes[i], file_handle(), 0, 0});
  }

  // One look: makes connections, reads what has come, and, if `send`, sends this node's rows. The first news are sent at once.
  void exchange(board& rows, bool send) {
    welcome();
    for (auto& one : targets_) connect(one);
    std::erase_if(targets_, [](const target& one) { return one.attempts < 0; });
    for (auto& line : lines_) receive(rows, *line);
    for (auto& line : lines_)
      if (line->lost) forget(rows, *line);
    std::erase_if(lines_, [](const auto& line) { return line->lost; });
    for (auto& line : lines_) {
      if ((send || !line->greeted) && line->out.empty()) write_rows(rows, *line);  // else it is slow: older news first
      line->greeted = true;
      flush(*line);
    }
  }

 private:
  struct connection {
    explicit connection(file_handle s) : socket(std::move(s)) {}
    file_handle socket;
    std::vector<char> in, out;
    std::vector<std::size_t> brought;  // rows that are known from here
    bool greeted = false, lost = false;
  };
  struct target {
    meeting_point where;
    file_handle pending;
    int attempts, looks;  // attempts < 0: no more
  };

  static std::array<std::uint32_t, 4> own_addresses() {
    std::array<std::uint32_t, 4> out{};
    ifaddrs* all = nullptr;
    if (::getifaddrs(&all) != 0) return out;
    std::size_t n = 0;
    for (const bool loopback : {false, true})  // the loopback last: for nodes that are emulated on one machine
      for (auto* one = all; one && n < out.size(); one = one->ifa_next)
        if (one->ifa_addr && one->ifa_addr->sa_family == AF_INET) {
          sockaddr_in in;
          std::memcpy(&in, one->ifa_addr, sizeof in);
          if ((ntohl(in.sin_addr.s_addr) >> 24 == 127) == loopback) out[n++] = in.sin_addr.s_addr;
        }
    ::freeifaddrs(all);
    return out;
  }

  void welcome() {
    while (listening_) {
      file_handle socket(::accept4(listening_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (!socket) return;
      lines_.push_back(std::make_unique<connection>(std::move(socket)));
    }
  }

  // One address after the other, each for some looks; not for ever.
  void connect(target& to) {
    if (to.pending) {
      pollfd ready{to.pending.get(), POLLOUT, 0};
      int failure = 0;
      socklen_t size = sizeof failure;
      if (::poll(&ready, 1, 0) > 0) {
        if (::getsockopt(to.pending.get(), SOL_SOCKET, SO_ERROR, &failure, &size) == 0 && failure == 0) {
          lines_.push_back(std::make_unique<connection>(std::move(to.pending)));
          to.attempts = -1;
          return;
        }
      } else if (++to.looks < 20) {
        return;
      }
      to.pending = file_handle();
    }
    if (to.attempts >= 3 * int(to.where.address.size())) {
      to.attempts = -1;
      return;
    }
    const auto address = to.where.address[std::size_t(to.attempts++) % to.where.address.size()];
    if (address == 0) return;
    sockaddr_in there{};
    there.sin_family = AF_INET, there.sin_port = htons(to.where.port), there.sin_addr.s_addr = address;
    to.pending = file_handle(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    to.looks = 0;
    if (to.pending && ::connect(to.pending.get(), reinterpret_cast<sockaddr*>(&there), sizeof there) != 0 && errno != EINPROGRESS)
      to.pending = file_handle();
  }

  void receive(board& rows, connection& line) {
    char part[1 << 16];
    for (;;) {
      const auto got = ::recv(line.socket.get(), part, sizeof part, 0);
      if (got > 0) line.in.insert(line.in.end(), part, part + got);
      else if (got < 0 && errno == EINTR) continue;
      else if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) break;
      else {
        line.lost = true;
        break;
      }
    }
    std::size_t at = 0;
    for (row_record r; line.in.size() - at >= sizeof r; at += sizeof r) {
      std::memcpy(static_cast<void*>(&r), line.in.data() + at, sizeof r);
      if (r.job != job_ || r.lines > r.line.size() || r.events > r.last.size()) {
        line.lost = true;
        break;
      }
      take(rows, line, r);
    }
    line.in.erase(line.in.begin(), line.in.begin() + std::ptrdiff_t(std::min(at, line.in.size())));
  }

  static void take(board& rows, connection& line, const row_record& r) {
    const auto row = rows.mirror_of(int(r.rank));
    if (row == board::none) return;
    if (std::find(line.brought.begin(), line.brought.end(), row) == line.brought.end()) line.brought.push_back(row);
    constexpr auto relaxed = std::memory_order_relaxed;
    const auto later = monitor::steady_nanoseconds() - r.sent;  // of our clock; the way's time is the error
    const auto shifted = [&](std::int64_t t) { return t == event::in_flight || t == event::awaited ? t : t < 0 ? t - later : t + later; };
    auto ring = rows.ring(row);
    for (std::size_t i = 0; i < r.events; ++i) {
      event e = r.last[i];
      e.start = shifted(e.start), e.end = shifted(e.end);
      ring.mirror(e);
    }
    for (std::size_t i = 0; i < r.lines; ++i) {
      auto& to = rows.lines_of(row)[i];
      to.rank.store(std::uint32_t(r.line[i].rank), relaxed), to.size.store(std::uint32_t(r.line[i].size), relaxed);
      to.left.store(r.line[i].left, relaxed), to.completed.store(r.line[i].completed, relaxed);
      to.begun.store(r.line[i].begun, std::memory_order_release);
      to.group.store(r.line[i].group, std::memory_order_release);
    }
    auto& head = rows.head(row);
    head.process.store(r.process, relaxed), head.thread.store(r.thread, relaxed), head.since.store(shifted(r.since), relaxed);
    head.dead.store(r.dead, relaxed), head.letter.store(r.letter, relaxed);
    head.state.store(presence(r.state), std::memory_order_release);
    head.heard.store(monitor::steady_nanoseconds(), relaxed);
    head.mirrored.store(row_head::known, std::memory_order_release);
  }

  // What came from there may no longer be true, except of ranks that have left.
  static void forget(board& rows, const connection& line) {
    for (const auto row : line.brought)
      if (const auto state = rows.head(row).state.load(std::memory_order_acquire); state == presence::working && rows.head(row).dead.load() == 0)
        rows.head(row).mirrored.store(row_head::lost, std::memory_order_release);
  }

  void write_rows(const board& rows, connection& line) {
    rank_picture one;
    for (std::size_t row = 0; row < rows.own_rows(); ++row) {
      take_picture(rows, row, one);
      take_status(rows, row, one);
      row_record r{};
      r.job = job_, r.rank = std::uint32_t(one.rank), r.process = one.process, r.thread = one.thread;
      r.state = std::uint32_t(one.state), r.since = one.since, r.dead = one.dead, r.letter = std::uint32_t(std::uint8_t(one.letter));
      r.lines = std::uint32_t(std::min(one.lines.size(), r.line.size()));
      std::copy_n(one.lines.begin(), r.lines, r.line.begin());
      r.events = std::uint32_t(std::min(one.events.size(), r.last.size()));
      std::copy(one.events.end() - r.events, one.events.end(), r.last.begin());
      r.sent = monitor::steady_nanoseconds();
      const auto* bytes = reinterpret_cast<const char*>(&r);
      line.out.insert(line.out.end(), bytes, bytes + sizeof r);
    }
  }
  static void flush(connection& line) {
    std::size_t sent = 0;
    while (sent < line.out.size()) {
      const auto some = ::send(line.socket.get(), line.out.data() + sent, line.out.size() - sent, MSG_NOSIGNAL);
      if (some <= 0) {
        line.lost = some < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR;
        break;
      }
      sent += std::size_t(some);
    }
    line.out.erase(line.out.begin(), line.out.begin() + std::ptrdiff_t(sent));
  }

  meeting_point where_;
  std::uint64_t job_ = 0;
  file_handle listening_;
  std::vector<target> targets_;
  std::vector<std::unique_ptr<connection>> lines_;
};

}  // namespace entrain::comm::watched_detail
