// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <optional>
#include <span>
#include <string>
#include <string_view>

// How the names and shapes of a public weights file lead to a model's parameter blocks: a prefix that names may carry and a short table
// of rules. What no rule speaks of has the same name and shape in both.
//
//   constexpr weight_rule my_rules[] = {{weight_action::renamed, "model.embed.weight", "wte.weight"},
//                                       {weight_action::transposed, "h.*.attn.c_attn.weight"}};
//   constexpr weight_table my_weights{"model.", my_rules};

namespace entrain::checkpoint {

enum class weight_action {
  skipped,     // tensors of the file that are no parameters: buffers
  tied,        // a tensor of the file that repeats block `other`: must equal it, may be absent, is not written
  renamed,     // a tensor of the file, and the block that it holds: `pattern` and `other`; the text for '*' is the same in both
  transposed,  // a block [a, b] that the file has as [b, a]
  padded,      // a block whose first dimension may exceed the file's, if the caller allows it: a padded vocabulary
};

// `pattern`: a name, in which at most one '*' stands for any text but the empty. Names of the file (without the prefix) where the
// action speaks of a tensor, names of blocks where it speaks of a block.
struct weight_rule {
  weight_action action;
  std::string_view pattern, other = {};
};

struct weight_table {
  std::string_view prefix;  // names in a file may begin with it, or not
  std::span<const weight_rule> rules;
};

// The public GPT-2 files (nn::gpt has their names, shapes and order). Older ones also carry the causal masks.
inline constexpr std::array<weight_rule, 4> gpt2_rules{{{weight_action::skipped, "h.*.attn.bias"},
                                                        {weight_action::skipped, "h.*.attn.masked_bias"},
                                                        {weight_action::tied, "lm_head.weight", "wte.weight"},
                                                        {weight_action::padded, "wte.weight"}}};
inline constexpr weight_table gpt2_weights{"transformer.", gpt2_rules};

namespace detail {

// The text that stands for '*', empty where the pattern has none; nothing where the name does not fit.
inline std::optional<std::string_view> fits(std::string_view pattern, std::string_view name) {
  const auto star = pattern.find('*');
  if (star == pattern.npos) return pattern == name ? std::optional(std::string_view{}) : std::nullopt;
  const std::string_view before = pattern.substr(0, star), after = pattern.substr(star + 1);
  if (name.size() <= before.size() + after.size() || !name.starts_with(before) || !name.ends_with(after)) return std::nullopt;
  return name.substr(before.size(), name.size() - before.size() - after.size());
}

inline const weight_rule* find_rule(const weight_table& table, weight_action action, std::string_view name) {
  for (const auto& rule : table.rules)
    if (rule.action == action && fits(rule.pattern, name)) return &rule;
  return nullptr;
}

inline std::string renamed(std::string_view name, std::string_view from, std::string_view to) {
  std::string out(to);
  if (const auto star = out.find('*'); star != out.npos) out.replace(star, 1, fits(from, name).value());
  return out;
}

// The block that a file's tensor holds.
inline std::string block_name(const weight_table& table, std::string_view name) {
  const auto* rule = find_rule(table, weight_action::renamed, name);
  return rule ? renamed(name, rule->pattern, rule->other) : std::string(name);
}

// The name of a block in a file, without prefix.
inline std::string public_name(const weight_table& table, std::string_view block) {
  for (const auto& rule : table.rules)
    if (rule.action == weight_action::renamed && fits(rule.other, block)) return renamed(block, rule.other, rule.pattern);
  return std::string(block);
}

inline std::string_view without_prefix(const weight_table& table, std::string_view name) {
  return name.starts_with(table.prefix) ? name.substr(table.prefix.size()) : name;
}

}  // namespace detail

}  // namespace entrain::checkpoint
