// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace espalier {

/// What stands in one place of a table: nothing, a text, a whole number or a real one. A real
/// number that is not finite is shown as nothing.
using Cell = std::variant<std::monostate, std::string, std::int64_t, double>;

/// A column's heading, and how many digits its real numbers have after the point where people read
/// them; CSV holds every digit.
struct Column {
  std::string title;
  int decimals = 3;
  bool operator==(const Column&) const = default;
};

/// Rows and columns of content; a format comes last. A column whose cells are all numbers or empty
/// is set to the right.
struct Table {
  std::string name;     ///< file stem, e.g. "selections"
  std::string caption;  ///< plain text
  std::vector<Column> columns;
  std::vector<std::vector<Cell>> rows;  ///< each as long as `columns`
  bool operator==(const Table&) const = default;
};

/// A text with &, <, >, " and ' escaped for HTML; control characters that HTML forbids become
/// U+FFFD.
std::string html_escape(std::string_view text);

/// GitHub's pipe table, columns padded to equal width (in code points).
///
/// \throws std::logic_error  here and below, if a row has another length than the columns
std::string to_markdown(const Table& table);

/// RFC 4180 with a header row and line feeds; empty cells for nothing.
std::string to_csv(const Table& table);

/// A `table` environment of LaTeX with booktabs rules, caption and label.
std::string to_latex(const Table& table);

/// A `<table>`; numbers carry every digit in `data-value`, by which they sort; long texts have the
/// class `long`.
std::string to_html(const Table& table);

}  // namespace espalier
