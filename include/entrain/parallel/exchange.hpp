// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <entrain/comm/concepts.hpp>
#include <entrain/compress/choices.hpp>
#include <entrain/core/describe.hpp>
#include <entrain/core/error.hpp>
#include <entrain/core/layout.hpp>
#include <entrain/core/memory.hpp>
#include <entrain/core/placement.hpp>
#include <entrain/parallel/buckets.hpp>
#include <entrain/parallel/plan.hpp>
#include <entrain/parallel/routes/gathered.hpp>
#include <entrain/parallel/routes/in_place.hpp>
#include <entrain/parallel/routes/in_rounds.hpp>
#include <entrain/parallel/routes/sparse.hpp>
#include <entrain/parallel/routes/summed.hpp>
#include <entrain/parallel/routes/two_phase.hpp>

// The exchange: the place where a compressor's payload meets a communicator's abilities. It turns the partial gradients of p
// ranks into replicated or sharded ones while the backward pass is still running.
//
// Every leaf of the compression policy (compress/choices.hpp) has a route, which its payload decides at compile time:
//
//   identity, positional   alone in the policy: summed where it lies, all-reduce, or reduce-scatter when sharded   routes/in_place.hpp
//   summable               packed, all-reduced                                                                     routes/summed.hpp
//   gatherable             packed, all-gathered, every rank's part decoded and added in rank order                 routes/gathered.hpp
//   sparse                 gathered, merged or summed densely, whichever is cheapest                               routes/sparse.hpp
//   two_phase              combined by one rank a part, then gathered                                              routes/two_phase.hpp
//   rounds                 summed several times, each time from the result before                                  routes/in_rounds.hpp
//
// Routes send messages (groups of blocks); the optimizer takes buckets (stretches of the arena). Residuals and other compressor
// state belong to the block, so any grouping gives the same result. Where the policy changes with time (compress::after), each
// phase has its own messages, all made before the first step.

namespace entrain::parallel {

namespace detail {

template <class T, class C, class Placement, bool Alone, class Leaf>
constexpr auto route_type() {
  using compress::payload_kind;
  if constexpr (Alone && (compress::is_identity<Leaf> || compress::is_positional<Leaf>)) return std::type_identity<routes::in_place<T, C, Leaf, Placement>>{};
  else if constexpr (Leaf::payload == payload_kind::summable) return std::type_identity<routes::summed<T, C, Leaf>>{};
  else if constexpr (Leaf::payload == payload_kind::gatherable) return std::type_identity<routes::gathered<T, C, Leaf>>{};
  else if constexpr (Leaf::payload == payload_kind::sparse) return std::type_identity<routes::sparse<T, C, Leaf>>{};
  else if constexpr (Leaf::payload == payload_kind::two_phase) return std::type_identity<routes::two_phase<T, C, Leaf>>{};
  else return std::type_identity<routes::in_rounds<T, C, Leaf>>{};
}

template <class Route>
concept leaves_blocks_out = requires(Route& r) { r.compressor().active(r.states().front()); };

template <class T, class C, class Placement, class Leaves>
struct routes_of;
template <class T, class C, class Placement, class... Leaf>
struct routes_of<T, C, Placement, std::tuple<Leaf...>> {
  using type = std::tuple<typename decltype(route_type<T, C, Placement, sizeof...(Leaf) == 1, Leaf>())::type...>;
};

}  // namespace detail

template <class T, class Communicator, class Compression, class Placement>
class exchange {
  using leaves = compress::leaves_of<Compression>;
  using routes_type = typename detail::routes_of<T, Communicator, Placement, leaves>::type;
  static constexpr std::size_t route_count = std::tuple_size_v<routes_type>;
  static constexpr bool is_sharded = std::same_as<Placement, sharded>;
  // One message a bucket, cut anywhere.
  static constexpr bool in_place = route_count == 1 && requires(std::tuple_element_t<0, routes_type>& r, const bucket& b) { r.add_message(b); };

 public:
  static constexpr bool fixed_shards = false;

  // whole_blocks: no bucket ends within a block, for optimizers that need all of it.
  exchange(const parameter_layout& layout, Communicator& comm, const Compression& compression, std::size_t bucket_bytes, bool whole_blocks = false)
      : layout_(layout),
        comm_(comm),
        compression_(compression),
        each_(std::max<std::size_t>(1, bucket_bytes / sizeof(T))),
        buckets_(cut_buckets(layout, each_, whole_blocks && !is_sharded, granularity(comm))) {
    compress::add_changes(compression, changes_);
    std::sort(changes_.begin(), changes_.end());
    changes_.erase(std::unique(changes_.begin(), changes_.end()), changes_.end());
    std::vector<std::uint64_t> chosen;
    for (std::size_t phase = 0; phase <= changes_.size(); ++phase)
      for (std::size_t i = 0; i < layout.blocks().size(); ++i) chosen.push_back(leaf_at(i, phase == 0 ? 0 : changes_[phase - 1]));
    choose(std::move(chosen));
  }

  static std::size_t granularity(const Communicator& comm) { return parameter_layout::alignment * std::size_t(is_sharded ? comm.size() : 1); }
  std::size_t arena_size() const {
    std::size_t end = layout_.size();
    for (const auto& b : buckets_) end = std::max(end, b.end);
    return end;
  }
  const std::vector<bucket>& buckets() const { return buckets_; }
  const Compression& compression() const { return compression_; }

  // The leaf that carries each block, phase by phase: what the policy has chosen, and the same again from a checkpoint where its
  // choices were a matter of measurement. Other choices than before make everything anew, states too.
  static constexpr bool keeps_choices = compress::is_measured<Compression>();
  const std::vector<std::uint64_t>& choices() const { return chosen_; }
  void choose(std::vector<std::uint64_t> leaf_of_blocks) {
    if (routes_ && leaf_of_blocks == chosen_) return;
    chosen_ = std::move(leaf_of_blocks);
    std::apply([&](const auto&... leaf) { routes_.emplace(routes::setting<Communicator, std::remove_cvref_t<decltype(leaf)>>{layout_, comm_, leaf}...); },
               compress::leaves(compression_));
    make_states();
    phases_.clear();
    phases_.reserve(changes_.size() + 1);
    for (std::size_t i = 0; i <= changes_.size(); ++i) add_phase(each_, i);
    each_route([&](auto& route, std::size_t) {
      if constexpr (requires { route.choose_ways(); }) route.choose_ways();
      route.allocate();
    });
  }

  void begin_step(const compress::context& where) {
    where_ = where;
    where_.ranks = std::uint32_t(comm_.size());
    now_ = phase_of(where.step);
    auto& phase = phases_[now_];
    phase.queue.reset();
    std::fill(phase.decoded.begin(), phase.decoded.end(), std::uint8_t(0));
    for (const auto& m : phase.links)
      at(m, [&](auto& route) {
        if constexpr (requires { route.begin_step(m.number); }) route.begin_step(m.number);
      });
    each_route([&](auto& route, std::size_t) {
      if constexpr (requires { route.compressor().begin_step(std::span(route.states()), where_); }) route.compressor().begin_step(std::span(route.states()), where_);
    });
    if constexpr (rests) mark_idle();
  }

  // Of each block, 1: it takes no part in this step, its gradient is not wanted and its parameters rest. Empty: all take part.
  std::span<const std::uint8_t> idle() const { return idle_; }

  // Block's gradient is final: encode it, start what can start, and give what is under way a push.
  void ready(std::size_t block, std::span<T> gradient) {
    if (!routes::trained(layout_[block])) return;
    auto& phase = phases_[now_];
    at({phase.route_of[block], 0}, [&](auto& route) { route.encode(block, where_, gradient); });
    phase.queue.ready(block, [&](std::size_t m) { at(phase.links[m], [&](auto& route) { route.start(phase.links[m].number, gradient); }); });
    progress();
  }

  void progress() {
    for (const auto& m : phases_[now_].links) at(m, [&](auto& route) { route.test(m.number); });
  }

  // After the last block is ready: carries on what has more than one communication, in an order that is the same on every rank.
  // `count`: of the samples of all ranks, by which the optimizer divides.
  void finish_stages(std::span<T> gradient, double count) {
    count_ = count;
    if constexpr (most_stages > 1) {
      for (int stage = 1; stage < most_stages; ++stage)
        for (const auto& m : phases_[now_].links)
          at(m, [&](auto& route) {
            if (stage < std::remove_reference_t<decltype(route)>::stages) route.advance(m.number, stage, gradient);
          });
    }
  }

  // Ends bucket b's exchange; the gradient arena then holds the sum over ranks, in the part that is returned.
  placed<T, Placement> wait(std::size_t b, std::span<T> gradient) {
    auto& phase = phases_[now_];
    for (const std::size_t m : phase.needed[b])
      if (!std::exchange(phase.decoded[m], std::uint8_t(1))) settle(m, gradient);
    const auto [begin, end] = own_range(b);
    return {view<T>(gradient.data() + begin, end - begin), begin};
  }

  // The part of bucket b that this rank holds afterwards: all of it, or its shard.
  std::pair<std::size_t, std::size_t> own_range(std::size_t b) const {
    return routes::own_range<Placement>(buckets_[b], comm_);
  }

  // What that step sends.
  void add_to(plan& p, std::uint64_t step) const {
    for (const auto& m : phases_[phase_of(step)].links) at(m, [&](const auto& route) { route.plan_of(m.number, p); });
  }

  // What travels how at that step, a line a message; of sparse ones what the other ways would take.
  std::string explain(std::uint64_t step) const {
    const auto& phase = phases_[phase_of(step)];
    std::string out;
    for (std::size_t m = 0; m < phase.links.size(); ++m)
      at(phase.links[m], [&](const auto& route) {
        const auto& blocks = phase.queue.buckets()[m].blocks;
        plan sent;
        route.plan_of(phase.links[m].number, sent);
        out += describe(route.compressor()) + ", " + std::to_string(blocks.size()) + " blocks from '" + (blocks.empty() ? "" : layout_[blocks.front()].name) + "':";
        for (const auto& p : sent) out += " " + std::string(p.operation) + " of " + (p.at_most ? "at most " : "") + std::to_string(p.count * p.element_bytes) + " bytes;";
        if constexpr (requires { route.explain(std::size_t{}); }) out += " " + route.explain(phase.links[m].number);
        out += "\n";
      });
    return out;
  }

  // f(block index, leaf, state) for every state of every trained block.
  template <class F>
  void for_each_state(F&& f) {
    each_route([&](auto& route, std::size_t leaf) {
      for (std::size_t i = 0; i < route.states().size(); ++i)
        if (routes::trained(layout_[i]) && takes_[leaf][i]) f(i, leaf, route.states()[i]);
    });
  }

 private:
  struct link {
    std::size_t route = 0, number = 0;  // a message of a route
  };
  struct phase_plan {
    bucket_queue queue;  // of messages
    std::vector<link> links;
    std::vector<std::uint8_t> decoded;
    std::vector<std::vector<std::size_t>> needed;  // the messages that touch a bucket
    std::vector<std::size_t> route_of;             // of every block
  };

  static constexpr int most_stages = []<class... R>(std::type_identity<std::tuple<R...>>) { return std::max({R::stages...}); }(std::type_identity<routes_type>{});

  // Some compressor leaves whole blocks out of a step: active(state).
  static constexpr bool rests = []<class... R>(std::type_identity<std::tuple<R...>>) { return (detail::leaves_blocks_out<R> || ...); }(std::type_identity<routes_type>{});
  void mark_idle() {
    idle_.assign(layout_.blocks().size(), 0);
    each_route([&](auto& route, std::size_t leaf) {
      if constexpr (detail::leaves_blocks_out<std::remove_cvref_t<decltype(route)>>)
        for (std::size_t i = 0; i < idle_.size(); ++i)
          if (phases_[now_].route_of[i] == leaf && routes::trained(layout_[i])) idle_[i] = !route.compressor().active(route.states()[i]);
    });
  }

  std::size_t phase_of(std::uint64_t step) const { return std::size_t(std::upper_bound(changes_.begin(), changes_.end(), step) - changes_.begin()); }
  std::size_t leaf_at(std::size_t block, std::uint64_t step) const {
    return compress::leaf_of(compression_, compress::block(layout_[block], block, std::size_t(comm_.size())), step);
  }

  void make_states() {
    takes_.assign(route_count, std::vector<bool>(layout_.blocks().size()));
    for (std::size_t i = 0; i < chosen_.size(); ++i) takes_[chosen_[i]][i % layout_.blocks().size()] = true;
    each_route([&](auto& route, std::size_t leaf) { route.make_states([&](std::size_t block) { return takes_[leaf][block]; }); });
  }

  void add_phase(std::size_t each, std::size_t phase) {
    phase_plan made;
    const std::size_t blocks = layout_.blocks().size();
    made.route_of.assign(chosen_.begin() + std::ptrdiff_t(phase * blocks), chosen_.begin() + std::ptrdiff_t((phase + 1) * blocks));
    std::vector<bucket> messages;
    each_route([&](auto& route, std::size_t leaf) {
      route.begin_phase();
      if constexpr (in_place) {
        messages = buckets_;
        for (const auto& b : buckets_) made.links.push_back({leaf, route.add_message(b)});
      } else {
        for (auto& b : cut_by_block(layout_, each, [&](std::size_t i) { return made.route_of[i] == leaf; })) {
          // In the order in which a backward pass completes them.
          std::size_t place = messages.size();
          while (place > 0 && messages[place - 1].begin < b.begin) --place;
          made.links.insert(made.links.begin() + std::ptrdiff_t(place), {leaf, route.add_message(b.blocks)});
          messages.insert(messages.begin() + std::ptrdiff_t(place), std::move(b));
        }
      }
    });
    made.decoded.resize(messages.size());
    made.needed.resize(buckets_.size());
    for (std::size_t b = 0; b < buckets_.size(); ++b)
      for (std::size_t m = 0; m < messages.size(); ++m)
        if (in_place ? m == b : touches(buckets_[b], messages[m])) made.needed[b].push_back(m);
    made.queue = bucket_queue(layout_, std::move(messages));
    phases_.push_back(std::move(made));
  }

  bool touches(const bucket& b, const bucket& message) const {
    for (const std::size_t i : message.blocks)
      if (layout_[i].offset < b.end && layout_[i].offset + layout_[i].count > b.begin) return true;
    return false;
  }

  void settle(std::size_t m, std::span<T> gradient) {
    auto& phase = phases_[now_];
    if (!phase.queue.started(m)) throw usage_error("gradient exchange", "waits for parameter blocks that the model has not reported as ready, such as '" + layout_[phase.queue.buckets()[m].blocks.back()].name + "'");
    at(phase.links[m], [&](auto& route) {
      using leaf = std::remove_cvref_t<decltype(route.compressor())>;
      route.wait(phase.links[m].number);
      route.decode(phase.links[m].number, where_, gradient, compress::is_direction<leaf> ? T(count_) : T(1));
    });
    for (const std::size_t i : phase.queue.buckets()[m].blocks) tell(i, gradient);
  }

  // A compressor that listens hears the settled sum of its blocks, whichever route has carried them.
  void tell(std::size_t block, std::span<T> gradient) {
    each_route([&](auto& route, std::size_t leaf) {
      if constexpr (requires { route.compressor().after_exchange(route.states()[block], where_, gradient); }) {
        if (!takes_[leaf][block]) return;
        auto key = where_;
        const compress::block shape(layout_[block], block, std::size_t(comm_.size()));
        key.block = std::uint32_t(block), key.rank = std::uint32_t(comm_.rank()), key.rows = shape.rows, key.columns = shape.columns;
        route.compressor().after_exchange(route.states()[block], key, gradient.subspan(layout_[block].offset, layout_[block].count));
      }
    });
  }

  template <class F>
  void each_route(F&& f) {
    std::size_t leaf = 0;
    std::apply([&](auto&... route) { (f(route, leaf++), ...); }, *routes_);
  }
  template <class Self, class F>
  static void visit(Self& routes, std::size_t wanted, F&& f) {
    std::size_t leaf = 0;
    std::apply([&](auto&... route) { (void)((leaf++ == wanted && (f(route), true)) || ...); }, routes);
  }
  template <class F>
  void at(const link& l, F&& f) { visit(*routes_, l.route, f); }
  template <class F>
  void at(const link& l, F&& f) const { visit(*routes_, l.route, f); }

  const parameter_layout& layout_;
  Communicator& comm_;
  Compression compression_;
  std::size_t each_;  // values that travel together
  std::vector<bucket> buckets_;
  std::optional<routes_type> routes_;
  std::vector<std::uint64_t> changes_, chosen_;
  std::vector<std::vector<bool>> takes_;  // leaf x block: will it ever carry it
  std::vector<phase_plan> phases_;
  std::size_t now_ = 0;
  compress::context where_;
  double count_ = 0;
  std::vector<std::uint8_t> idle_;
};

}  // namespace entrain::parallel
