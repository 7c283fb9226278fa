// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <entrain/comm/watched/board.hpp>
#include <entrain/comm/watched/courier.hpp>
#include <entrain/comm/watched/diagnosis.hpp>
#include <entrain/comm/watched/report.hpp>

// The thread that looks at the board while the ranks of its process work. It blames nobody before it has looked again.
//
// Time is measured in its own looks: a job that is stopped as a whole and goes on later, or a machine too busy to run this thread,
// does not use up the deadline. A rank that has begun or ended anything within the deadline is on its way and gets more time.

namespace entrain::comm {

enum class failure_action {
  end_job,  // abort, then exit with code 1
  report    // print, write the dump, call on_failure, and let the job go on (or wait)
};

struct watched_options {
  std::chrono::milliseconds deadline = std::chrono::seconds(60);  // longest wait for another rank
  std::size_t ring_events = 1024;                                 // kept of each rank, 64 bytes each; the same on all ranks
  std::string dump_directory = ".";                               // of the JSON file that a failure leaves; empty: none
  failure_action action = failure_action::end_job;
  std::function<void(const std::string& message)> on_failure = {};  // called by the watchdog's thread, before the job is ended
  std::chrono::milliseconds grace = std::chrono::seconds(3);        // from the abort to the exit that nothing can delay
  std::string node = {};                                            // ranks that say the same share a board; empty: the machine's name
};

namespace watched_detail {

// A rank of this process: its row, and how it ends its job. `break_off` may be empty, does not block and makes the waits of the
// job's ranks throw; `abort` may hang.
struct local_rank {
  std::size_t row = 0;
  std::function<void(int guilty, const std::string& message)> break_off;
  std::function<void()> abort;
};

class watchdog {
 public:
  watchdog(board memory, const watched_options& options)
      : board_(std::move(memory)), options_(options), tick_(std::clamp<std::int64_t>(options.deadline.count() * 1'000'000 / 20, 5'000'000, 100'000'000)) {}
  watchdog(const watchdog&) = delete;
  watchdog& operator=(const watchdog&) = delete;
  ~watchdog() {
    {
      const std::lock_guard lock(mutex_);
      ends_ = true;
    }
    changed_.notify_all();
    if (thread_.joinable()) thread_.join();
    try {
      if (courier_) courier_->exchange(board_, true);  // that this node's ranks have left
    } catch (...) {  // no memory for the last news
    }
  }

  const board& memory() const { return board_; }
  const watched_options& options() const { return options_; }

  // Before the first rank is added: who carries rows from and to other nodes.
  void employ(std::unique_ptr<courier> one) { courier_ = std::move(one); }

  void add(local_rank rank) {
    const std::lock_guard lock(mutex_);
    locals_.push_back(std::move(rank));
    if (!thread_.joinable()) thread_ = std::thread([this] { watch(); });
  }
  // The rank leaves: a last look at what it did, because what differs in the last call is seen by the last to leave.
  void remove(std::size_t row, bool by_exception) {
    if (!by_exception && board_.header().reporter.load(std::memory_order_acquire) == 0)
      if (const auto found = compare({row})) report(found, int(board_.head(row).rank.load(std::memory_order_relaxed)), false);
    {
      const std::lock_guard lock(mutex_);
      std::erase_if(locals_, [&](const local_rank& one) { return one.row == row; });
    }
    changed_.notify_all();
  }
  // What the ranks disagree in, for an error that the wrapped communicator threw; empty if they agree.
  std::string explain(std::size_t row) {
    const auto found = compare({row});
    return found.text;
  }

 private:
  static constexpr std::int64_t looks_a_delivery = 4;

  struct suspicion {
    std::size_t row;
    std::uint64_t ticket;
    std::int64_t waited;
    bool seen;
    int judged = 0;  // looks in a row that found somebody missing
  };

  void watch() {
    std::unique_lock lock(mutex_);
    auto before = monitor::steady_nanoseconds();
    while (!ends_) {
      changed_.wait_for(lock, std::chrono::nanoseconds(tick_), [&] { return ends_; });
      if (ends_) return;
      rows_.clear();
      for (const auto& one : locals_) rows_.push_back(one.row);
      lock.unlock();
      const auto now = monitor::steady_nanoseconds();
      if (courier_) courier_->exchange(board_, looks_++ % looks_a_delivery == 0);
      const bool goes_on = look(std::min(now - before, 4 * tick_));
      before = now;
      lock.lock();
      if (!goes_on) return;
    }
  }

  // False: the end.
  bool look(std::int64_t elapsed) {
    if (rows_.empty()) return true;
    if (board_.header().reporter.load(std::memory_order_acquire) != 0) {  // another process of the node has found it
      if (options_.action == failure_action::end_job) end_after_grace(2 * options_.grace);
      return false;
    }
    const int reporter = int(board_.head(rows_.front()).rank.load(std::memory_order_relaxed));
    if (moved())
      if (const auto found = compare(rows_)) return report(found, reporter, true);
    for (const auto row : rows_) note_waits(row, elapsed);
    std::erase_if(suspicions_, [](const suspicion& s) { return !s.seen; });
    const bool death = !suspicions_.empty() && somebody_died();
    for (auto& s : suspicions_) {
      s.seen = false;
      if (s.waited < options_.deadline.count() * 1'000'000 && !death) continue;
      const auto found = judge(s);
      if (found && ++s.judged < 2) continue;  // looks once more before it speaks
      if (!found) s.judged = 0;
      else return report(found, int(board_.head(s.row).rank.load(std::memory_order_relaxed)), true);
    }
    return true;
  }

  bool moved() {
    std::uint64_t sum = 0;
    for (std::size_t row = 0; row < board_.rows(); ++row) sum += board_.ring(row).written();
    return std::exchange(seen_events_, sum) != sum;
  }

  void note_waits(std::size_t row, std::int64_t elapsed) {
    const auto ring = board_.ring(row);
    const auto last = ring.written();
    event e;
    for (auto ticket = last - std::min<std::uint64_t>(last, ring.capacity()); ticket < last; ++ticket) {
      if (!ring.read(ticket, e) || e.end != event::awaited) continue;
      const auto known = std::find_if(suspicions_.begin(), suspicions_.end(), [&](const suspicion& s) { return s.row == row && s.ticket == ticket; });
      if (known == suspicions_.end()) suspicions_.push_back({row, ticket, 0, true, 0});
      else known->waited += elapsed, known->seen = true;
    }
  }

  // Asked of the ranks that have not left, once a look while somebody waits.
  bool somebody_died() const {
    for (std::size_t row = 0; row < board_.rows(); ++row) {
      const auto& head = board_.head(row);
      if (head.state.load(std::memory_order_acquire) != presence::working) continue;
      if (row < board_.own_rows() ? is_dead(head) : head.dead.load(std::memory_order_relaxed) != 0) return true;
    }
    return false;
  }

  picture whole_picture() const {
    auto out = take_picture(board_);
    out.silence = 4 * looks_a_delivery * tick_;
    return out;
  }

  // After the deadline, or a death: is there reason to give up?
  finding judge(const suspicion& s) {
    const auto p = whole_picture();
    const auto& one = *picture_of(p, int(board_.head(s.row).rank.load(std::memory_order_relaxed)));
    const event* waiting = nullptr;
    for (const auto& e : one.events)
      if (e.ticket == s.ticket && e.end == event::awaited) waiting = &e;
    if (!waiting) return {};
    const bool late = s.waited >= options_.deadline.count() * 1'000'000;
    auto verdict = who_is_missing(p, one, *waiting);
    auto& found = verdict.missing;
    bool death = false, moves = false;
    for (const int rank : found.guilty) {
      const auto* guilty = picture_of(p, rank);
      death = death || guilty->dead;
      // What is known of another node is some looks old.
      const auto news = board_.mirror_of(rank) == board::none ? 0 : 3 * looks_a_delivery * tick_;
      moves = moves || (!guilty->gone() && p.now - last_progress(*guilty) < options_.deadline.count() * 1'000'000 + news);
    }
    // A rank that moves is not missing yet; but not for ever: it may be busy with something that never leads here.
    if (!death && (!late || (moves && s.waited < 20 * options_.deadline.count() * 1'000'000))) return {};
    if (!found && verdict.elsewhere) {
      found.guilty = p.unknown;
      found.text = p.unknown.size() == 1 ? ranks_text(p.unknown) + " is missing" : "one of the " + ranks_text(p.unknown) + " is missing";
      found.text += ", of which nothing has been heard: on another node; the others have come, or wait in turn";
    }
    if (found) found.text += "; rank " + std::to_string(one.rank) + " waits in " + describe(p, *waiting);
    return found;
  }

  // What the ranks in these rows did otherwise than their partners.
  finding compare(const std::vector<std::size_t>& rows) {
    picture p;
    p.all.resize(board_.rows());
    std::vector<bool> loaded(board_.rows(), false);
    for (std::size_t row = 0; row < board_.rows(); ++row)
      if (board_.is_known(row)) take_picture(board_, row, p.all[row], false);
    const auto load = [&](std::size_t row) {
      if (!loaded[row]) take_picture(board_, row, p.all[row], true);
      loaded[row] = true;
    };
    for (const auto row : rows) {
      load(row);
      for (const auto partner : partners(p, row)) load(partner);
      if (!disagreement_of(p, row)) continue;
      const auto whole = whole_picture();
      const auto* one = picture_of(whole, p.all[row].rank);
      return disagreement_of(whole, std::size_t(one - whole.all.data()));
    }
    return {};
  }

  bool report(const finding& found, int reporter, bool from_thread) {
    std::uint32_t nobody = 0;
    if (!board_.header().reporter.compare_exchange_strong(nobody, std::uint32_t(reporter) + 1)) return true;
    const auto p = whole_picture();
    auto message = message_text(p, reporter, found.text, unmatched(p));
    std::string path;
    if (!options_.dump_directory.empty()) {
      path = options_.dump_directory + "/entrain_watched_" + std::to_string(this_process()) + ".json";
      if (write_file(path, json_text(p, reporter, found.text))) message += "  the last operations of all ranks: " + path + "\n";
    }
    std::fflush(stdout);
    std::fwrite(message.data(), 1, message.size(), stderr);
    std::fflush(stderr);
    if (options_.on_failure) options_.on_failure(message);
    if (options_.action == failure_action::report) return false;
    std::vector<std::function<void()>> aborts;
    bool broken_off = false;  // then the ranks throw and leave by themselves
    {
      const std::lock_guard lock(mutex_);
      if (locals_.empty()) return false;  // all have left while this was told: another process' watchdog, or the program, ended them
      for (const auto& one : locals_) {
        if (one.break_off) one.break_off(found.guilty.empty() ? reporter : found.guilty.front(), found.text);
        if (one.abort) aborts.push_back(one.abort);
        broken_off = broken_off || one.break_off;
      }
    }
    for (const auto& abort : aborts) std::thread(abort).detach();  // it may hang; the exit below does not wait for it
    if (!broken_off && aborts.empty()) std::_Exit(1);  // whoever started the processes ends the others
    if (from_thread || !broken_off) end_after_grace(options_.grace);
    return false;
  }

  // Exits, unless all ranks of this process leave before.
  void end_after_grace(std::chrono::milliseconds grace) {
    std::unique_lock lock(mutex_);
    if (changed_.wait_for(lock, grace, [&] { return ends_ || locals_.empty(); })) return;
    std::fprintf(stderr, "watched: the job did not end within %lld ms of that: exit with code 1\n", static_cast<long long>(grace.count()));
    std::_Exit(1);
  }

  board board_;
  watched_options options_;
  const std::int64_t tick_;  // nanoseconds between two looks
  std::mutex mutex_;         // guards the next two
  std::vector<local_rank> locals_;
  bool ends_ = false;
  std::condition_variable changed_;
  std::vector<std::size_t> rows_;  // of the thread, like all below
  std::vector<suspicion> suspicions_;
  std::uint64_t seen_events_ = 0, looks_ = 0;
  std::unique_ptr<courier> courier_;
  std::thread thread_;
};

}  // namespace watched_detail
}  // namespace entrain::comm
