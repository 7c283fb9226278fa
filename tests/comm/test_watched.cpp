// SPDX-License-Identifier: Apache-2.0
#include "catch.hpp"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <mutex>
#include <numeric>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <entrain/comm/checked.hpp>
#include <entrain/comm/point_to_point_only.hpp>
#include <entrain/comm/self.hpp>
#include <entrain/comm/threads.hpp>
#include <entrain/comm/watched.hpp>
#include <entrain/comm/watched/trace.hpp>
#include <entrain/monitor/event_ring.hpp>

#include "comm/holds.hpp"

using namespace entrain;
using namespace std::chrono_literals;

static_assert(comm::communicator<comm::watched<comm::threads>>);
static_assert(comm::communicator<comm::watched<comm::self>>);
static_assert(comm::communicator<comm::watched<comm::point_to_point_only<comm::threads>>>);
static_assert(comm::native<comm::watched<comm::threads>, comm::collective::all_reduce, float, comm::sum>);
static_assert(!comm::native<comm::watched<comm::point_to_point_only<comm::threads>>, comm::collective::all_reduce, float, comm::sum>);

namespace {

std::string temporary(const std::string& name) { return (std::filesystem::temp_directory_path() / name).string(); }
std::string text_of(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream out;
  out << file.rdbuf();
  return out.str();
}
bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// Runs body(watched) on every rank; what the watchdog printed, and in `error` what run_ranks threw.
template <class Body>
std::string message_of(int ranks, Body body, std::string* error = nullptr, std::chrono::milliseconds deadline = 200ms) {
  std::string message;
  try {
    comm::run_ranks(ranks, [&](comm::threads& world) {
      comm::watched w{world, {.deadline = deadline, .dump_directory = "", .on_failure = [&](const std::string& text) { message = text; }}};
      body(w);
    });
    if (error) error->clear();
  } catch (const std::exception& e) {
    if (error) *error = e.what();
  }
  return message;
}

}  // namespace

TEST_CASE("a ring keeps the last events, and the states of their ends") {
  monitor::event_ring ring(10);
  CHECK(ring.capacity() == 16);
  CHECK(ring.snapshot().empty());
  std::uint64_t first = 0;
  for (std::uint64_t i = 0; i < 40; ++i) {
    const auto ticket = ring.begin({.sequence = i, .count = 2 * i, .group = 7, .root = -1, .element_bytes = 4, .detail = 9, .tag = -5, .operation = 3, .type = dtype::f32});
    if (i == 0) first = ticket;
    if (i % 3 == 0) ring.end(ticket);
    if (i % 3 == 1) ring.await(ticket);
    if (i == 38) ring.fail(ticket);
  }
  ring.end(first);  // long gone: changes nothing
  const auto events = ring.snapshot();
  REQUIRE(events.size() == 16);
  for (std::size_t k = 0; k < events.size(); ++k) {
    const auto& e = events[k];
    const auto i = 24 + k;
    CHECK(e.sequence == i);
    CHECK(e.ticket == i);
    CHECK(e.bytes() == 8 * i);
    CHECK((e.group == 7 && e.root == -1 && e.detail == 9 && e.tag == -5 && e.operation == 3 && e.type == dtype::f32));
    CHECK((e.ended() == (i % 3 == 0 || i == 38)));
    CHECK(e.failed() == (i == 38));
    if (i % 3 == 1) CHECK(e.end == monitor::event::awaited);
    if (e.ended()) CHECK(e.end_time() >= e.start);
  }
}

TEST_CASE("events are read whole while others are written") {
  monitor::event_ring ring(64);
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> torn{0}, seen{0};
  std::thread reader([&] {
    std::vector<monitor::event> events;
    while (!stop.load()) {
      ring.snapshot(events);
      for (const auto& e : events) {
        ++seen;
        if (e.count != e.sequence * 3 || e.element_bytes != std::uint32_t(e.sequence) || e.tag != std::int32_t(e.sequence) || e.ticket != e.sequence) ++torn;
      }
    }
  });
  for (std::uint64_t i = 0; i < 200000 || seen.load() == 0; ++i)
    ring.end(ring.begin({.sequence = i, .count = 3 * i, .element_bytes = std::uint32_t(i), .tag = std::int32_t(i)}));
  stop = true;
  reader.join();
  CHECK(torn == 0);
}

TEST_CASE("a watched communicator does what the wrapped one does, and leaves events") {
  for (const int ranks : {1, 2, 3, 5}) {
    const auto message = message_of(ranks, [&](auto& w) {
      const int p = w.size(), rank = w.rank();
      w.counters() = {};
      std::vector<int> mine{rank, 7}, all(2 * std::size_t(p)), sum(2);
      comm::all_gather(w, mine, all);
      comm::all_reduce(w, mine, sum);
      HOLDS(all[2 * std::size_t(p) - 2] == p - 1 && sum[0] == p * (p - 1) / 2);
      comm::barrier(w);
      auto part = w.split(rank % 2, rank);
      int one = 1;
      comm::all_reduce(part, view<int>(&one, 1));
      HOLDS(one == part.size());
      auto early = comm::start_all_reduce(w, mine, sum);
      int token = rank, got = -1;
      comm::send_receive(w, view<int>(&token, 1), (rank + 1) % p, view<int>(&got, 1), (rank + p - 1) % p, 4);
      HOLDS(got == (rank + p - 1) % p);
      while (!early.test()) {
      }
      HOLDS(w.counters().messages == 1);
      const auto events = w.events().snapshot();
      HOLDS(events.size() == 8);
      HOLDS(events[0].sequence == 1 && events[2].sequence == 3 && events[4].sequence == 1 && events[5].sequence == 5);
      HOLDS(events[1].bytes() == 8 && events[1].type == dtype::i32);
      for (const auto& e : events) HOLDS(e.ended() && !e.failed() && e.end_time() >= e.start);
    });
    CHECK(message == "");
  }
}

TEST_CASE("collectives built from messages leave one event") {
  CHECK(message_of(3, [](auto& world) {
          comm::point_to_point_only messages{world.inner()};
          comm::watched w{messages, {.deadline = 150ms, .dump_directory = ""}};
          std::vector<float> a(1000, 1), b(1000, 1);
          comm::all_reduce(w, a);
          HOLDS(a[999] == 3);
          auto first = comm::start_all_reduce(w, a);
          auto second = comm::start_all_reduce(w, b);
          std::this_thread::sleep_for(300ms);  // nobody waits
          second.wait();
          first.wait();
          HOLDS(a[999] == 9 && b[999] == 3);
          const auto events = w.events().snapshot();
          HOLDS(events.size() == 3);
          for (const auto& e : events)
            HOLDS(e.operation == std::uint8_t(comm::collective::all_reduce) && e.count == 1000 && e.root == -1 && e.ended());
        }) == "");
  std::string message;  // from the only reporter
  comm::run_ranks(3, [&](comm::threads& world) {
    comm::point_to_point_only messages{world};
    comm::watched w{messages,
                    {.deadline = 150ms,
                     .dump_directory = "",
                     .action = comm::failure_action::report,
                     .on_failure = [&](const std::string& text) { message = text; }}};
    std::vector<float> a(1000, 1);
    comm::all_reduce(w, a);
    if (w.rank() == 1) std::this_thread::sleep_for(500ms);
    comm::all_reduce(w, a);
  });
  CHECK(contains(message, "rank 1 is missing: it has stalled"));
  CHECK(contains(message, "waits in all_reduce #2 of 1000 f32"));
}

TEST_CASE("it wraps, and is wrapped by, other wrappers") {
  comm::run_ranks(2, [](comm::threads& world) {
    comm::watched w{world};
    comm::checked both{w};
    std::vector<float> a(10, 1);
    comm::all_reduce(both, a);
    HOLDS(a[0] == 2);
  });
  comm::self alone;
  comm::watched w{alone};
  std::vector<float> a(10, 1);
  comm::all_reduce(w, a);
  CHECK(w.events().written() == 1);
}

TEST_CASE("a rank that does not come is named, and the job ends") {
  for (const int ranks : {2, 4}) {
    std::string error;
    const auto message = message_of(
        ranks,
        [&](auto& w) {
          std::vector<float> a(10);
          comm::all_reduce(w, a);
          if (w.rank() == 1) std::this_thread::sleep_for(700ms);
          comm::barrier(w);
        },
        &error);
    CHECK(contains(message, "rank 1 is missing: it has stalled: it sleeps"));
    CHECK(contains(message, "waits in barrier #2"));
    CHECK(contains(message, "rank 1 has stalled: it sleeps, or waits for something else and is in no collective or message; last completed: all_reduce #1 of 10 f32 (sum)"));
    CHECK(contains(error, "rank 1 is missing"));
  }
}

TEST_CASE("the rank at the end of a chain of waiting ranks is named") {
  const auto message = message_of(4, [&](auto& w) {
    auto part = w.split(w.rank() / 2, 0);  // 0 1 | 2 3
    int x = 0;
    if (w.rank() == 0) comm::receive(w, view<int>(&x, 1), 3, 5);   // waits for 3
    if (w.rank() == 1) comm::all_reduce(part, view<int>(&x, 1));   // waits for 0
    if (w.rank() == 2) comm::send(w, view<int>(&x, 1), 1, 6);      // waits for 1
    if (w.rank() == 3) std::this_thread::sleep_for(900ms);
  });
  CHECK(contains(message, "rank 3 is missing: it has stalled"));
  CHECK(!contains(message, "rank 0 is missing"));
  CHECK(contains(message, "in the group of ranks 0, 1"));
  CHECK(contains(message, "rank 3 has not begun to send for rank 0's receive of 1 i32 from rank 3 with tag 5"));
}

TEST_CASE("ranks that wait for each other are named") {
  const auto message = message_of(3, [&](auto& w) {
    int x = 0;
    comm::receive(w, view<int>(&x, 1), (w.rank() + 1) % 3, 1);
  });
  CHECK(contains(message, "ranks 0, 1, 2 wait for each other"));
}

TEST_CASE("a rank that has left is named by those that wait for it, and by nobody else") {
  CHECK(message_of(3, [&](auto& w) {
          auto part = w.split(w.rank() == 0 ? 0 : 1, 0);
          if (w.rank() == 0) return;
          for (int i = 0; i < 3; ++i) {
            comm::barrier(part);
            std::this_thread::sleep_for(150ms);
          }
        }) == "");
  // Threads notice that themselves, when the rank's body has returned; here only its comm::watched has gone.
  std::string message;
  CHECK_THROWS(comm::run_ranks(3, [&](comm::threads& world) {
    {
      comm::watched w{world, {.deadline = 200ms, .dump_directory = "", .on_failure = [&](const std::string& text) { message = text; }}};
      if (w.rank() != 1) comm::barrier(w);
    }
    std::this_thread::sleep_for(600ms);
    comm::barrier(world);
  }));
  CHECK(contains(message, "rank 1 is missing: it has left"));
}

TEST_CASE("nobody is blamed while nobody waits, or while what is waited for moves") {
  CHECK(message_of(
            3,
            [&](auto& w) {
              auto part = w.split(w.rank() == 0 ? 0 : 1, 0);
              std::this_thread::sleep_for(700ms);
              comm::barrier(w);
              std::vector<float> a(10), b(10);
              auto pending = comm::start_all_reduce(w, a);
              std::this_thread::sleep_for(700ms);  // in flight for longer than the deadline, but not waited for
              pending.wait();
              auto incoming = comm::start_receive(w, a, (w.rank() + 2) % 3, 3);
              for (int i = 0; i < 140; ++i) {  // asked for now and then, as a server does
                HOLDS(!incoming.test());
                std::this_thread::sleep_for(5ms);
              }
              comm::barrier(w);
              comm::send(w, b, (w.rank() + 1) % 3, 3);
              incoming.wait();
              for (int i = 0; i < 14 && w.rank() > 0; ++i) {  // rank 1 keeps rank 0 waiting, but is seen to do something
                std::this_thread::sleep_for(50ms);
                comm::barrier(part);
              }
              if (w.rank() == 1) comm::send(w, a, 0, 7);
              if (w.rank() == 0) comm::receive(w, a, 1, 7);
            },
            nullptr, 500ms) == "");
}

TEST_CASE("the page about watching") {
  const auto directory = std::filesystem::temp_directory_path().string();
  comm::run_ranks(2, [&](comm::threads& world) {
    std::vector<float> gradient(10);
    //! [use]
    comm::watched safe{world, {.deadline = 30s, .dump_directory = directory}};
    comm::all_reduce(safe, gradient);
    //! [use]
    //! [trace]
    comm::write_trace(safe, directory + "/run.json");
    //! [trace]
    //! [ring]
    for (const auto& e : safe.events().snapshot())
      if (e.operation == std::uint8_t(comm::collective::all_reduce)) HOLDS(e.end_time() - e.start >= 0 && e.bytes() == 40);
    //! [ring]
  });
  CHECK(contains(text_of(directory + "/run.json"), "all_reduce #1"));
  std::filesystem::remove(directory + "/run.json");
}

TEST_CASE("what the rings hold is written as JSON when it fails") {
  const auto directory = temporary("entrain_test_watched");
  std::filesystem::create_directories(directory);
  CHECK_THROWS(comm::run_ranks(2, [&](comm::threads& world) {
    comm::watched w{world, {.deadline = 100ms, .dump_directory = directory}};
    std::vector<double> a(12);
    comm::broadcast(w, a, 1);
    if (w.rank() == 0) std::this_thread::sleep_for(400ms);
    comm::all_reduce(w, a);
  }));
  std::string text;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) text = text_of(entry.path().string());
  CHECK(contains(text, "\"finding\":\"rank 0 is missing"));
  CHECK(contains(text, "{\"operation\":\"broadcast\",\"type\":\"f64\",\"state\":\"complete\",\"sequence\":1,\"count\":12,\"bytes\":96,\"group\":1,\"root\":1,\"start_ns\":"));
  CHECK(contains(text, "{\"operation\":\"all_reduce\",\"type\":\"f64\",\"reduction\":\"sum\",\"state\":\"awaited\",\"sequence\":2"));
  std::filesystem::remove_all(directory);
}

TEST_CASE("a report without an end lets the job go on") {
  std::atomic<int> reports{0};
  comm::run_ranks(2, [&](comm::threads& world) {
    comm::watched w{world,
                    {.deadline = 100ms, .dump_directory = "", .action = comm::failure_action::report, .on_failure = [&](const std::string&) { ++reports; }}};
    if (w.rank() == 0) std::this_thread::sleep_for(400ms);
    comm::barrier(w);
  });
  CHECK(reports == 1);
}

TEST_CASE("ranks that leave while the failure is told are not ended once more") {
  std::string message;
  CHECK_THROWS_WITH(comm::run_ranks(2,
                                    [&](comm::threads& world) {
                                      const auto told = [&](const std::string& text) {
                                        message = text;
                                        world.break_off(1, "the program has had enough");
                                        std::this_thread::sleep_for(400ms);  // meanwhile both throw and leave
                                      };
                                      comm::watched w{world, {.deadline = 100ms, .dump_directory = "", .on_failure = told}};
                                      int x = 0;
                                      comm::receive(w, view<int>(&x, 1), 1 - w.rank(), 1);
                                    }),
                    Catch::Matchers::Contains("the program has had enough"));
  CHECK(contains(message, "ranks 0, 1 wait for each other"));
}

TEST_CASE("ranks on other nodes are named, too") {
  for (const std::string how : {"sleep", "count", "leave"}) {
    CAPTURE(how);
    std::string first;  // what the first node says; of two ranks that wait for each other, either node may be the first to say so
    std::mutex writing;
    CHECK_THROWS(comm::run_ranks(4, [&](comm::threads& world) {
      const comm::watched_options options{.deadline = 200ms,
                                          .dump_directory = "",
                                          .on_failure =
                                              [&, here = world.rank() < 3](const std::string& text) {
                                                const std::lock_guard lock(writing);
                                                if (here || how == "count") first = text;
                                              },
                                          .node = world.rank() < 3 ? "first" : "second"};
      auto held = std::make_unique<comm::watched<comm::threads>>(world, options);
      auto& w = *held;
      std::vector<float> a(10);
      comm::all_reduce(w, a);
      if (w.rank() == 3) {
        if (how == "sleep") std::this_thread::sleep_for(1200ms);
        if (how == "count") comm::send(w, std::vector<float>(9), 0, 5);
        if (how == "leave") {
          std::this_thread::sleep_for(100ms);  // until it is known over there
          held.reset();
          std::this_thread::sleep_for(1000ms);
          return comm::barrier(world);
        }
      } else if (how == "count" && w.rank() == 0) {
        comm::receive(w, a, 3, 6);
      }
      comm::barrier(w);
    }));
    if (how == "sleep") {
      CHECK(contains(first, "rank 3 is missing: it has stalled: it sleeps"));
      CHECK(contains(first, "rank 3 has stalled: it sleeps, or waits for something else and is in no collective or message; last completed: all_reduce #1 of 10 f32 (sum)"));
    } else if (how == "leave") {
      CHECK(contains(first, "rank 3 is missing: it has left"));
    } else {
      CHECK(contains(first, "waits in "));
      CHECK(contains(first, "rank 0 has not begun to receive rank 3's send of 9 f32 to rank 0 with tag 5"));
    }
  }
}

TEST_CASE("what another node says is believed as long as it can be heard") {
  using namespace comm::watched_detail;
  constexpr std::size_t events = 8;
  board first(pages::plain(board::bytes(1, 1, events)), 1, 1, events), second(pages::plain(board::bytes(1, 1, events)), 1, 1, events);
  for (auto* b : {&first, &second}) {
    b->head(1).rank = b == &first ? 1 : 0;
    b->head(1).mirrored = row_head::unknown;
  }
  rank_writer writer(second, 0);
  writer.arrive(1, world_group, 2);
  monitor::event e;
  e.count = 5, e.type = dtype::f64, e.element_bytes = 8, e.operation = std::uint8_t(comm::collective::all_reduce);
  for (int i = 0; i < 30; ++i) writer.end(writer.begin_collective(second.lines_of(0)[0], e), &second.lines_of(0)[0], std::uint64_t(i + 1));
  courier hub;
  const auto deliver = [&](courier& there) {
    for (int i = 0; i < 50; ++i) {
      hub.exchange(first, true);
      there.exchange(second, true);
      std::this_thread::sleep_for(1ms);
    }
  };
  {
    courier there;
    const std::vector<meeting_point> nodes{hub.where(), there.where()};
    hub.know(nodes, 0);
    there.know(nodes, 1);
    CHECK(!first.is_known(1));
    deliver(there);
    REQUIRE(first.is_known(1));
    CHECK(second.is_known(1));
    const auto p = take_picture(first);
    REQUIRE(p.all.size() == 2);
    const auto& one = p.all[1];
    CHECK((one.rank == 1 && one.state == presence::working && !one.dead));
    CHECK((one.lines.size() == 1 && one.lines[0].begun == 30 && one.lines[0].completed == 30));
    REQUIRE(one.events.size() == 8);
    CHECK((one.events.back().sequence == 30 && one.events.back().ticket == 29 && one.events.back().bytes() == 40));
  }
  for (int i = 0; i < 20; ++i) hub.exchange(first, true);
  CHECK(first.is_lost(1));
  courier stranger;
  stranger.know({hub.where(), stranger.where()}, 1);
  deliver(stranger);
  CHECK(first.is_lost(1));
}

TEST_CASE("a trace has one slice an operation on each rank's track, aligned") {
  const auto path = temporary("entrain_test_watched_trace.json");
  comm::run_ranks(3, [&](comm::threads& world) {
    comm::watched w{world};
    std::vector<float> a(100);
    for (int i = 0; i < 5; ++i) {
      comm::all_reduce(w, a);
      comm::barrier(w);
    }
    comm::write_trace(w, path);
  });
  const auto text = text_of(path);
  std::size_t slices = 0;
  for (auto at = text.find("\"ph\":\"X\""); at != std::string::npos; at = text.find("\"ph\":\"X\"", at + 1)) ++slices;
  CHECK(slices == 30);
  CHECK(contains(text, "\"name\":\"process_name\",\"ph\":\"M\",\"pid\":2"));
  CHECK(contains(text, "\"name\":\"barrier #10\""));
  std::filesystem::remove(path);
}

TEST_CASE("slices that overlap lie in different lanes") {
  monitor::chrome_trace trace(1000);
  trace.slice(0, "a", 1000, 3000, "\"x\":1");
  trace.slice(0, "b", 2000, 4000);
  trace.slice(0, "c", 3000, 5000);
  CHECK(trace.text() ==
        "{\"displayTimeUnit\":\"ns\",\"traceEvents\":["
        "\n{\"name\":\"a\",\"ph\":\"X\",\"pid\":0,\"tid\":0,\"ts\":0,\"dur\":2,\"args\":{\"x\":1}},"
        "\n{\"name\":\"b\",\"ph\":\"X\",\"pid\":0,\"tid\":1,\"ts\":1,\"dur\":2,\"args\":{}},"
        "\n{\"name\":\"c\",\"ph\":\"X\",\"pid\":0,\"tid\":0,\"ts\":2,\"dur\":2,\"args\":{}},"
        "\n{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":0,\"tid\":0,\"args\":{\"name\":\"rank 0\"}}\n]}\n");
}
