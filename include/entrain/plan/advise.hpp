// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <ostream>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <entrain/compress/cost.hpp>
#include <entrain/compress/measure.hpp>
#include <entrain/compress/none.hpp>
#include <entrain/core/describe.hpp>
#include <entrain/core/error.hpp>
#include <entrain/core/layout.hpp>
#include <entrain/engine/host.hpp>
#include <entrain/parallel/buckets.hpp>
#include <entrain/plan/timeline.hpp>

// Does compression pay for this model, on these ranks and wires? Answered before anything is trained:
//
//   std::cout << plan::advise(nn::gpt{...}, 4, compress::wires::uniform(5e-5, 12.5e6), {.compute = 0.02},
//                             compress::cast<bfloat16>{}, compress::error_feedback{compress::top_k{}});
//
// compares each policy with the dense exchange under data parallelism: time of a step, bytes, and whether it pays. What the
// processor needs to encode and decode is measured here in a few milliseconds a policy, or given: plan::given{policy, costs}.
// The wires are a model (compress/wires.hpp), and so is the step (plan/timeline.hpp). A policy that starts later
// (compress::after) is judged by what it comes to. Does not communicate.

namespace entrain::plan {

struct verdict {
  std::string policy;
  double step = 0;     // seconds
  double coding = 0;   // of them: encoding and decoding
  double waiting = 0;  // of them: for the wires, with nothing left to compute
  double wires = 0;    // seconds that messages travel, hidden or not
  double bytes = 0;    // that a rank sends a step
  bool pays = false;
};

struct advice {
  int ranks = 1;
  double compute = 0, least_gain = 0;  // as the workload says
  verdict dense;
  std::vector<verdict> policies;  // in the order in which they were given

  // How many times as long as the dense exchange the computing takes.
  double compute_bound() const { return dense.wires > 0 ? compute / dense.wires : std::numeric_limits<double>::infinity(); }
  std::string reason(const verdict& v) const;
  std::string text() const;
  friend std::ostream& operator<<(std::ostream& out, const advice& a) { return out << a.text(); }
};

// A policy whose costs are known: one for each of its leaves (compress/choices.hpp), from left to right.
template <class C>
struct given {
  static constexpr bool is_given = true;
  C policy;
  std::array<compress::costs, compress::leaf_count<C>> costs;

  given(C c, std::array<compress::costs, compress::leaf_count<C>> k) : policy(std::move(c)), costs(k) {}
  given(C c, compress::costs k) : policy(std::move(c)) { costs.fill(k); }
};

namespace detail {

// The messages of a step under the policy, in the order in which they start; grouped as parallel/exchange.hpp does.
template <class T, class C>
std::vector<message> messages_of(const C& policy, const std::array<compress::costs, compress::leaf_count<C>>& costs, const parameter_layout& layout, int ranks,
                                 const compress::wires& wires, std::size_t bucket_bytes) {
  constexpr auto settled = std::numeric_limits<std::uint64_t>::max();
  const std::size_t each = std::max<std::size_t>(1, bucket_bytes / sizeof(T));
  std::vector<compress::block> blocks;
  std::vector<std::size_t> leaf_of;
  for (std::size_t i = 0; i < layout.blocks().size(); ++i) {
    blocks.emplace_back(layout[i], i, std::size_t(ranks));
    leaf_of.push_back(compress::leaf_of(policy, blocks.back(), settled));
  }
  std::vector<message> out;
  std::size_t leaf = 0;
  const auto add = [&](const auto& c) {
    using leaf_type = std::remove_cvref_t<decltype(c)>;
    constexpr bool anywhere = compress::leaf_count<C> == 1 && (compress::is_identity<leaf_type> || compress::is_positional<leaf_type>);
    const auto buckets = anywhere ? parallel::cut_by_range(layout, each, parameter_layout::alignment) : parallel::cut_by_block(layout, each, [&](std::size_t i) { return leaf_of[i] == leaf; });
    for (const auto& b : buckets) {
      std::vector<compress::block> carried;
      if (anywhere) carried.emplace_back(b.end - b.begin).ranks = std::size_t(ranks);
      else
        for (const std::size_t i : b.blocks) carried.push_back(blocks[i]);
      const auto cost = compress::predict<T>(c, costs[leaf], wires, std::span<const compress::block>(carried));
      out.push_back({b.begin, cost.encode, cost.wires, cost.decode, cost.bytes});
    }
    ++leaf;
  };
  std::apply([&](const auto&... c) { (add(c), ...); }, compress::leaves(policy));
  std::stable_sort(out.begin(), out.end(), [](const message& a, const message& b) { return a.begin > b.begin; });
  return out;
}

template <class T, class P>
verdict judge(const P& p, const parameter_layout& layout, int ranks, const compress::wires& wires, const workload& work) {
  if constexpr (requires { P::is_given; }) {
    const auto time = step_time(messages_of<T>(p.policy, p.costs, layout, ranks, wires, work.bucket_bytes), layout, work);
    return {entrain::describe(p.policy), time.step, time.coding, time.waiting, time.wires, time.bytes};
  } else {
    std::size_t longest = 0;
    for (const auto& b : layout.blocks()) longest = std::max(longest, b.count);
    const std::size_t n = std::clamp(longest, std::size_t(4096), std::size_t(1) << 20);
    return judge<T>(given<P>(p, compress::measure_leaves<T>(p, n, ranks)), layout, ranks, wires, work);
  }
}

template <class Model>
parameter_layout layout_of(const Model& m) {
  if constexpr (requires { m.layout(); }) return m.layout();
  else return m.template make<float>(engine::host{}).layout();
}

}  // namespace detail

// T: the gradient's type. Errors: usage_error for a number of ranks or a time that cannot be.
template <class T = float, class... Policies>
advice advise(const parameter_layout& layout, int ranks, const compress::wires& wires, const workload& work, const Policies&... policies) {
  if (ranks < 1) throw usage_error("plan::advise", "a wrong number of ranks", "1 or more", std::to_string(ranks));
  if (!(work.compute >= 0)) throw usage_error("plan::advise", "a wrong time of computing", "seconds, 0 or more", std::to_string(work.compute));
  advice out;
  out.ranks = ranks, out.compute = work.compute, out.least_gain = work.least_gain;
  out.dense = detail::judge<T>(compress::none{}, layout, ranks, wires, work);
  (out.policies.push_back(detail::judge<T>(policies, layout, ranks, wires, work)), ...);
  for (auto& v : out.policies) v.pays = v.step < (1 - work.least_gain) * out.dense.step;
  return out;
}

// For a model, or for the description of one (nn::gpt, ...; include nn/host.hpp).
template <class T = float, class Model, class... Policies>
  requires requires(const Model& m) { detail::layout_of(m); }
advice advise(const Model& model, int ranks, const compress::wires& wires, const workload& work, const Policies&... policies) {
  return advise<T>(detail::layout_of(model), ranks, wires, work, policies...);
}

// ---- as text ------------------------------------------------------------------------------------------------------------------------

inline std::string advice::reason(const verdict& v) const {
  namespace text = timeline_detail;
  if (v.pays) return "pays: " + text::number(dense.step / v.step) + " times as fast";
  if (ranks == 1) return "does not pay: nothing travels";
  const double saved = dense.waiting - v.waiting;
  const bool gains = v.step < dense.step;
  const std::string gain = (saved > 0 ? "saves " + text::time(saved) + " of waiting" : "saves no waiting") + (gains ? ", " + text::number(100 * (1 - v.step / dense.step)) + " % of a step" : "");
  return "does not pay: coding takes " + text::time(v.coding) + ", " + gain + "; compute-bound by " + text::number(compute_bound());
}

inline std::string advice::text() const {
  namespace text = timeline_detail;
  std::string out = std::to_string(ranks) + " ranks, " + text::time(compute) + " of computing a step\n";
  std::size_t width = 8;
  for (const auto& v : policies) width = std::max(width, v.policy.size());
  const auto line = [&](const std::string& a, const std::string& b, const std::string& c, const std::string& d, const std::string& e, const std::string& f) {
    out += text::padded(a, width, false) + text::padded(b, 11) + text::padded(c, 11) + text::padded(d, 11) + text::padded(e, 12) + (f.empty() ? "" : "   " + f) + "\n";
  };
  line("policy", "step", "waiting", "coding", "sent", "");
  line(dense.policy, text::time(dense.step), text::time(dense.waiting), "-", text::bytes(dense.bytes), "");
  for (const auto& v : policies) line(v.policy, text::time(v.step), text::time(v.waiting), text::time(v.coding), text::bytes(v.bytes), reason(v));
  return out;
}

}  // namespace entrain::plan
