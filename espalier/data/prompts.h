// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace espalier {

/// One instruction of a domain.
struct Subtask {
  std::string name;
  std::string prompt;  ///< empty where the rows bring their own
  bool operator==(const Subtask&) const = default;
};

/// A domain's instructions, in file order.
struct DomainPrompts {
  std::string name;
  std::vector<Subtask> subtasks;
  bool operator==(const DomainPrompts&) const = default;
};

/// The nine prompts of the paper (appendix A.2) as TOML: domains `math` and `nonmath`.
std::string_view paper_prompts();

/// Understands `[[domain]] name`, and in each `[[domain.subtask]] name, prompt`.
///
/// \param source       what to call it in errors
/// \throws InputError  for broken TOML (with its line), a missing, empty or surplus key, or a name
///                     that comes twice or could not stand on a command line
std::vector<DomainPrompts> parse_prompts(std::string_view toml, std::string_view source);

/// Reads and understands a file.
std::vector<DomainPrompts> read_prompts(const std::filesystem::path& file);

/// A name of a domain or subtask: letters, digits, '-', '_' and '.', at least one.
///
/// \throws InputError naming the place
void check_name(std::string_view name, std::string_view place);

}  // namespace espalier
