// SPDX-License-Identifier: Apache-2.0
#include "espalier/data/prompts.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <cctype>
#include <initializer_list>

#include "espalier/base/error.h"
#include "espalier/base/files.h"

namespace espalier {

namespace {

/// A table of the file, with its place for errors.
struct Table {
  const toml::table& table;
  std::string place;  ///< file:line
};

std::string place_of(const toml::node& node, std::string_view source) {
  return fmt::format("{}:{}", source, node.source().begin.line);
}

void refuse_surplus_keys(const Table& in, std::initializer_list<std::string_view> known) {
  for (const auto& [key, node] : in.table) {
    require(std::ranges::find(known, key.str()) != known.end(), "{}: unknown key \"{}\"", in.place,
            key.str());
  }
}

std::string text_of(const Table& in, std::string_view key) {
  const auto value = in.table[key].value_exact<std::string>();
  require(value.has_value() && !value->empty(), "{}: wanted {} = \"...\", not empty", in.place,
          key);
  return *value;
}

/// The tables of an array `[[key]]`; none is an error.
std::vector<Table> tables_of(const Table& in, std::string_view key, std::string_view source) {
  const toml::array* array = in.table[key].as_array();
  require(array != nullptr && !array->empty(), "{}: wanted at least one [[{}]]", in.place, key);
  std::vector<Table> tables;
  for (const toml::node& node : *array) {
    require(node.is_table(), "{}: {} must be a table", place_of(node, source), key);
    tables.push_back({.table = *node.as_table(), .place = place_of(node, source)});
  }
  return tables;
}

template <typename Named>
void refuse_second(const std::vector<Named>& known, const std::string& name,
                   const std::string& place) {
  require(std::ranges::find(known, name, &Named::name) == known.end(), "{}: a second \"{}\"", place,
          name);
}

DomainPrompts domain_of(const Table& in, std::string_view source) {
  refuse_surplus_keys(in, {"name", "subtask"});
  DomainPrompts domain{.name = text_of(in, "name"), .subtasks = {}};
  check_name(domain.name, in.place);
  for (const Table& table : tables_of(in, "subtask", source)) {
    refuse_surplus_keys(table, {"name", "prompt"});
    Subtask subtask{.name = text_of(table, "name"), .prompt = text_of(table, "prompt")};
    check_name(subtask.name, table.place);
    refuse_second(domain.subtasks, subtask.name, table.place);
    domain.subtasks.push_back(std::move(subtask));
  }
  return domain;
}

toml::table parse(std::string_view text, std::string_view source) {
  try {
    return toml::parse(text, source);
  } catch (const toml::parse_error& error) {
    throw InputError(fmt::format("{}:{}:{}: {}", source, error.source().begin.line,
                                 error.source().begin.column, error.description()));
  }
}

}  // namespace

void check_name(std::string_view name, std::string_view place) {
  const bool plain = std::ranges::all_of(name, [](unsigned char letter) {
    return std::isalnum(letter) != 0 || letter == '-' || letter == '_' || letter == '.';
  });
  require(plain && !name.empty(),
          "{}: a name is made of letters, digits, '-', '_' and '.'; found \"{}\"", place, name);
}

std::vector<DomainPrompts> parse_prompts(std::string_view toml, std::string_view source) {
  const toml::table root = parse(toml, source);
  const Table file{.table = root, .place = std::string(source)};
  refuse_surplus_keys(file, {"domain"});
  std::vector<DomainPrompts> domains;
  for (const Table& table : tables_of(file, "domain", source)) {
    DomainPrompts domain = domain_of(table, source);
    refuse_second(domains, domain.name, table.place);
    domains.push_back(std::move(domain));
  }
  return domains;
}

std::vector<DomainPrompts> read_prompts(const std::filesystem::path& file) {
  return parse_prompts(read_file(file, 16U << 20U), file.string());
}

}  // namespace espalier
