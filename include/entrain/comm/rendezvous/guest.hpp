// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <entrain/comm/rendezvous/records.hpp>
#include <entrain/comm/rendezvous/socket.hpp>

// The other ranks of a rendezvous: call rank 0 until it answers.

namespace entrain::comm::rendezvous_detail {

class caller {
 public:
  caller(const job_address& job, std::chrono::milliseconds within) : job_(job), within_(within), end_(within) {}

  void fetch(std::span<std::byte> data) {
    std::string last = "nothing";
    for (auto pause = std::chrono::milliseconds(5);; pause = std::min(pause * 2, std::chrono::milliseconds(500))) {
      for (const auto& at : resolve(job_.host, job_.port, 0, last)) {
        const auto socket = connect(at, end_.sooner(std::chrono::seconds(3)), last);
        if (socket && ask(socket, at, data, last)) return;
      }
      if (end_.passed()) throw communication_error(who(), entrain::detail::text("rank 0 has not answered within ", within_.count(), " ms"), entrain::detail::text("rank 0 at ", job_.text()), last);
      std::this_thread::sleep_for(std::chrono::milliseconds(end_.left(pause)));
    }
  }

 private:
  std::string who() const { return entrain::detail::text("comm::share_over_tcp, rank ", job_.rank, " of ", job_.size); }

  // False: the connection was lost, and a new one may do better. Who has reached rank 0 waits a little longer than it does, so as to
  // hear from it who is missing.
  bool ask(const file_handle& socket, const address& at, std::span<std::byte> data, std::string& last) {
    const deadline end(std::chrono::milliseconds(end_.left(std::chrono::hours(240))) + std::chrono::milliseconds(500));
    std::array<std::byte, reply::head_bytes> head{};
    std::size_t got = 0;
    auto how = send_all(socket, hello{std::uint32_t(job_.rank), std::uint32_t(job_.size), job_.key}.write(), end);
    if (how == outcome::done) how = receive_all(socket, head, got, end);
    if (!begins_with(std::span(head).first(got), reply_magic))
      throw communication_error(who(), entrain::detail::text("at ", at.text(), " there is something else than rank 0"), "an answer that begins with 'entrain reply 1.'", quoted(std::span(head).first(got)));
    const auto answer = reply::read(head);
    if (how == outcome::done && answer.refused) refused(socket, at, answer.length, end);
    if (how == outcome::done && answer.length != data.size())
      throw communication_error(who(), entrain::detail::text("rank 0 at ", at.text(), " shares something else"), entrain::detail::text(data.size(), " bytes"), entrain::detail::text(answer.length, " bytes"));
    if (how == outcome::done) how = receive_all(socket, data, got, end);
    last = entrain::detail::text(at.text(), how == outcome::closed ? ": the connection was closed without an answer" : ": a connection, but no answer");
    return how == outcome::done;
  }
  [[noreturn]] void refused(const file_handle& socket, const address& at, std::size_t length, const deadline& end) {
    std::vector<std::byte> text(std::min(length, longest_refusal));
    std::size_t got = 0;
    (void)receive_all(socket, text, got, end);
    auto why = reply::read_refusal(std::span(text).first(got));
    throw communication_error(who(), entrain::detail::text("rank 0 at ", at.text(), " says: ", why.wrong), std::move(why.expected), std::move(why.found));
  }

  const job_address& job_;
  std::chrono::milliseconds within_;
  deadline end_;
};

}  // namespace entrain::comm::rendezvous_detail
