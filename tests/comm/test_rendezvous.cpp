// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include <arpa/inet.h>

#include <entrain/comm/rendezvous.hpp>

// Ranks that are threads of this process meet over TCP; what is not as it shall be is named, in time, on both sides.

using namespace entrain;
using comm::job_address;
using std::chrono::milliseconds;
using clock_type = std::chrono::steady_clock;

namespace {

constexpr milliseconds plenty{20000}, hasty{400};
using payload = std::array<std::byte, 128>;
payload something() {
  payload out{};
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = std::byte(i * 7 + 1);
  return out;
}

std::string error_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const communication_error& e) {
    return e.what();
  }
  return "none";
}
std::size_t open_files() {
  std::size_t n = 0;
  for ([[maybe_unused]] const auto& one : std::filesystem::directory_iterator("/proc/self/fd")) ++n;
  return n;
}

// Rank 0, listening, on a port of its own; and what the others are told.
struct meeting {
  explicit meeting(int size, std::string key = "", std::string at = "127.0.0.1") : host(job_address{.size = size, .host = std::move(at), .port = 0, .key = std::move(key)}) {}
  job_address of(int rank) const {
    auto job = host.job();
    job.rank = rank;
    return job;
  }
  comm::rendezvous_host host;
};
// What all ranks of a meeting end with: rank 0, then `others`.
std::vector<std::string> run(meeting& at, const std::vector<job_address>& others, milliseconds deadline, std::vector<payload>* got = nullptr) {
  std::vector<std::string> said(others.size() + 1);
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < others.size(); ++i)
    threads.emplace_back([&, i] {
      payload mine{};
      said[i + 1] = error_of([&] { comm::share_over_tcp(others[i], mine, deadline); });
      if (got) (*got)[i] = mine;
    });
  said[0] = error_of([&] { at.host.give(something(), deadline); });
  for (auto& one : threads) one.join();
  return said;
}

// A program that is something else: says `word` to whom it is connected with, and waits until that has gone.
void say(int socket, const std::string& word) {
  (void)::send(socket, word.data(), word.size(), MSG_NOSIGNAL);
  char rest[64];
  while (::recv(socket, rest, sizeof rest, 0) > 0) {}
}
comm::detail::file_handle blocking_socket(std::uint16_t port, bool listens) {
  comm::detail::file_handle out(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in at{};
  at.sin_family = AF_INET, at.sin_port = htons(port), at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int on = 1;
  (void)::setsockopt(out.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const int failed = listens ? ::bind(out.get(), reinterpret_cast<sockaddr*>(&at), sizeof at) + ::listen(out.get(), 1) : ::connect(out.get(), reinterpret_cast<sockaddr*>(&at), sizeof at);
  if (failed != 0) throw std::runtime_error("no socket");
  return out;
}
std::uint16_t free_port() { return meeting(2).host.port(); }  // it is closed again

}  // namespace

TEST_CASE("all ranks get what rank 0 has, in whatever order they come", "[rendezvous]") {
  const auto before = open_files();
  for (const std::string at : {"127.0.0.1", "localhost", "::1", "[::1]"}) {
    if (at.find("::1") != std::string::npos && error_of([&] { meeting probe(2, "", at); }) != "none") continue;  // a machine without IPv6
    for (const int size : {1, 2, 3, 4, 5}) {
      meeting here(size, "run 1", at);
      std::vector<job_address> others;
      for (int r = size - 1; r > 0; --r) others.push_back(here.of(r));
      std::vector<payload> got(others.size());
      for (const auto& said : run(here, others, plenty, &got)) CHECK(said == "none");
      for (const auto& one : got) CHECK(one == something());
    }
  }
  CHECK(open_files() == before);
}

TEST_CASE("ranks that come before rank 0 call again", "[rendezvous]") {
  const job_address early{.rank = 1, .size = 2, .port = free_port()};
  payload got{};
  std::string said;
  std::thread other([&] { said = error_of([&] { comm::share_over_tcp(early, got, plenty); }); });
  std::this_thread::sleep_for(milliseconds(60));
  auto first = early;
  first.rank = 0;
  auto mine = something();
  comm::share_over_tcp(first, mine, plenty);
  other.join();
  CHECK(said == "none");
  CHECK(got == something());
}

TEST_CASE("many meetings at one port, one after the other", "[rendezvous]") {
  const auto port = free_port();
  const auto before = open_files();
  std::vector<std::thread> ranks;
  std::vector<std::string> said(3);
  for (int rank = 0; rank < 3; ++rank)
    ranks.emplace_back([&, rank] {
      said[std::size_t(rank)] = error_of([&] {
        for (int i = 0; i < 20; ++i) {
          std::array<std::byte, 1> what{std::byte(rank == 0 ? i : 255)};
          comm::share_over_tcp({.rank = rank, .size = 3, .port = port}, what, plenty);
          if (what[0] != std::byte(i)) throw communication_error("test", "the bytes of another meeting");
        }
      });
    });
  for (auto& one : ranks) one.join();
  for (const auto& one : said) CHECK(one == "none");
  CHECK(open_files() == before);
}

TEST_CASE("a rank that does not come is named on all others, at the deadline", "[rendezvous]") {
  const auto before = open_files();
  const auto start = clock_type::now();
  {
    meeting here(4);
    const auto said = run(here, {here.of(1)}, hasty);
    CHECK_THAT(said[0], Catch::Contains("comm::rendezvous_host, rank 0 of 4 at 127.0.0.1:" + std::to_string(here.host.port())));
    for (const auto& one : said) CHECK_THAT(one, Catch::Contains("not all ranks have come within 400 ms; expected 3 ranks beside rank 0, found 1, without rank 2, 3"));
    CHECK_THAT(said[1], Catch::Contains("comm::share_over_tcp, rank 1 of 4: rank 0 at 127.0.0.1:"));
  }
  const job_address alone{.rank = 1, .size = 2, .port = free_port()};
  payload got{};
  const auto said = error_of([&] { comm::share_over_tcp(alone, got, hasty); });
  CHECK_THAT(said, Catch::Contains("rank 0 has not answered within 400 ms; expected rank 0 at " + alone.text()) && Catch::Contains("Connection refused"));
  CHECK(clock_type::now() - start < std::chrono::seconds(10));
  CHECK(open_files() == before);
}

TEST_CASE("ranks that do not fit together are told so at once", "[rendezvous]") {
  const auto start = clock_type::now();
  {
    meeting here(3);
    auto larger = here.of(2);
    larger.size = 4;
    const auto said = run(here, {larger}, plenty);
    for (const auto& one : said) CHECK_THAT(one, Catch::Contains("belongs to a group of another size; expected 3 ranks, found 4 ranks"));
  }
  {
    meeting here(4);
    const auto said = run(here, {here.of(2), here.of(2)}, plenty);
    for (const auto& one : said) CHECK_THAT(one, Catch::Contains("rank 2 has come twice; expected every rank once, found 127.0.0.1:"));
  }
  {
    meeting here(2);
    payload other{};
    std::array<std::byte, 4> shorter{};
    std::string said;
    std::thread second([&] { said = error_of([&] { comm::share_over_tcp(here.of(1), shorter, plenty); }); });
    here.host.give(other, plenty);
    second.join();
    CHECK_THAT(said, Catch::Contains("shares something else; expected 4 bytes, found 128 bytes"));
    CHECK_THROWS_AS(here.host.give(other, plenty), usage_error);
  }
  CHECK(clock_type::now() - start < std::chrono::seconds(10));
}

TEST_CASE("a rank of another run is sent away, and the run goes on", "[rendezvous]") {
  meeting here(2, "mine");
  auto stranger = here.of(1);
  stranger.key = "yours";
  std::string refused, said;
  payload got{};
  std::thread both([&] {
    refused = error_of([&] { comm::share_over_tcp(stranger, got, plenty); });
    said = error_of([&] { comm::share_over_tcp(here.of(1), got, plenty); });
  });
  here.host.give(something(), plenty);
  both.join();
  CHECK_THAT(refused, Catch::Contains("belongs to another run; expected the key 'mine', found 'yours'"));
  CHECK(said == "none");
  CHECK(got == something());
}

TEST_CASE("programs that are something else are named, and do not end a run", "[rendezvous]") {
  meeting here(2);
  std::string said;
  std::thread others([&] {
    const auto silent = blocking_socket(here.host.port(), false);
    say(blocking_socket(here.host.port(), false).get(), "GET / HTTP/1.1\r\n\r\n");
    { const auto brief = blocking_socket(here.host.port(), false); }
    std::this_thread::sleep_for(hasty);
  });
  said = error_of([&] { here.host.give(something(), hasty); });
  others.join();
  CHECK_THAT(said, Catch::Contains("which is no rank of this library and said 'GET / HTTP/1.1..'") && Catch::Contains("without rank 1; there came 127.0.0.1:"));

  const auto port = free_port();
  const auto listening = blocking_socket(port, true);
  std::thread server([&] { say(comm::detail::file_handle(::accept(listening.get(), nullptr, nullptr)).get(), "SSH-2.0-something_that_is_long\r\n"); });
  payload got{};
  const job_address job{.rank = 1, .size = 2, .port = port};
  CHECK_THAT(error_of([&] { comm::share_over_tcp(job, got, plenty); }), Catch::Contains("there is something else than rank 0; expected an answer that begins with 'entrain reply 1.', found 'SSH-2.0-somethin'"));
  server.join();
  CHECK_THAT(error_of([&] { comm::share_over_tcp(job, got, hasty); }), Catch::Contains("rank 0 has not answered within 400 ms") && Catch::Contains("a connection, but no answer"));
  CHECK_THAT(error_of([&] { comm::rendezvous_host({.size = 2, .port = port}); }), Catch::Contains("cannot listen; expected a free port of this machine, found 127.0.0.1:" + std::to_string(port) + ": Address already in use"));
}

TEST_CASE("a rank that leaves and comes again is one rank", "[rendezvous]") {
  meeting here(3);
  std::string said[3];
  payload got{};
  std::thread others([&] {
    said[1] = error_of([&] { comm::share_over_tcp(here.of(1), got, hasty); });  // too early: gives up before rank 2 comes
    std::thread again([&] { said[1] = error_of([&] { comm::share_over_tcp(here.of(1), got, plenty); }); });
    payload second{};
    said[2] = error_of([&] { comm::share_over_tcp(here.of(2), second, plenty); });
    again.join();
  });
  said[0] = error_of([&] { here.host.give(something(), plenty); });
  others.join();
  for (const auto& one : said) CHECK(one == "none");
  CHECK(got == something());
}

TEST_CASE("addresses are checked, and read from the environment", "[rendezvous]") {
  CHECK_THROWS_WITH((job_address{.rank = 2, .size = 2}.check()), Catch::Contains("no such rank; expected a rank in [0, 2), found 2"));
  CHECK_THROWS_AS((job_address{.size = 0}.check()), usage_error);
  CHECK_THROWS_AS((job_address{.host = ""}.check()), usage_error);
  CHECK_THROWS_AS((job_address{.key = std::string(65, 'x')}.check()), usage_error);
  CHECK_THROWS_AS((job_address{.rank = 1, .size = 2, .port = 0}.check()), usage_error);
  CHECK_THROWS_AS(comm::rendezvous_host({.rank = 1, .size = 2}), usage_error);
  CHECK(job_address{.host = "fe80::1", .port = 7}.text() == "[fe80::1]:7");
  payload got{};
  CHECK_THAT(error_of([&] { comm::share_over_tcp({.rank = 1, .size = 2, .host = "no such name"}, got, milliseconds(20)); }), Catch::Contains("the name 'no such name': "));

  const auto set = [](const char* name, const char* value) { ::setenv(name, value, 1); };
  for (const auto* name : {"MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE", "LOCAL_RANK", "TORCHELASTIC_RUN_ID", "TORCHELASTIC_USE_AGENT_STORE"}) ::unsetenv(name);
  CHECK_THROWS_WITH(job_address::from_environment(), Catch::Contains("the environment has no MASTER_ADDR"));
  set("MASTER_ADDR", "node1"), set("MASTER_PORT", "4000"), set("RANK", "3"), set("WORLD_SIZE", "8");
  auto job = job_address::from_environment();
  CHECK((job.host == "node1" && job.port == 4000 && job.rank == 3 && job.size == 8 && job.key.empty() && job.local_rank == 0));
  set("LOCAL_RANK", "1"), set("TORCHELASTIC_RUN_ID", "run"), set("TORCHELASTIC_USE_AGENT_STORE", "True");
  job = job_address::from_environment();
  CHECK((job.port == 4001 && job.local_rank == 1 && job.key == "run"));
  set("MASTER_PORT", "65535");
  CHECK(job_address::from_environment().port == 65534);
  set("MASTER_PORT", "80x");
  CHECK_THROWS_WITH(job_address::from_environment(), Catch::Contains("MASTER_PORT is no such number; expected a number in [0, 65535], found '80x'"));
  set("MASTER_PORT", "4000"), set("RANK", "8");
  CHECK_THROWS_AS(job_address::from_environment(), usage_error);
  for (const auto* name : {"MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE", "LOCAL_RANK", "TORCHELASTIC_RUN_ID", "TORCHELASTIC_USE_AGENT_STORE"}) ::unsetenv(name);
}
