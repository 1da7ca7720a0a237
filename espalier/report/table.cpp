// SPDX-License-Identifier: Apache-2.0
#include "espalier/report/table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "espalier/base/error.h"

namespace espalier {

namespace {

bool is_empty(const Cell& cell) {
  if (const auto* number = std::get_if<double>(&cell)) return !std::isfinite(*number);
  return std::holds_alternative<std::monostate>(cell);
}

/// What people read in a cell; `nothing` where there is nothing.
std::string shown(const Cell& cell, int decimals, std::string_view nothing) {
  if (is_empty(cell)) return std::string(nothing);
  if (const auto* text = std::get_if<std::string>(&cell)) return *text;
  if (const auto* whole = std::get_if<std::int64_t>(&cell)) return fmt::to_string(*whole);
  const std::string text = fmt::format("{:.{}f}", std::get<double>(cell), decimals);
  // A negative number that is rounded to nothing is nothing.
  return text.find_first_not_of("-0.") == std::string::npos && text.front() == '-' ? text.substr(1)
                                                                                   : text;
}

/// The same with every digit, for programs.
std::string exact(const Cell& cell) {
  const auto* number = std::get_if<double>(&cell);
  return number != nullptr && std::isfinite(*number) ? fmt::to_string(*number) : shown(cell, 0, "");
}

bool is_numeric(const Table& table, std::size_t column) {
  const auto cell_is_text = [&](const auto& row) {
    return std::holds_alternative<std::string>(row[column]);
  };
  const auto cell_is_empty = [&](const auto& row) { return is_empty(row[column]); };
  return std::ranges::none_of(table.rows, cell_is_text) &&
         !std::ranges::all_of(table.rows, cell_is_empty);
}

void check(const Table& table) {
  for (const auto& row : table.rows) {
    assume(row.size() == table.columns.size(), "a table's rows are as long as its columns");
  }
}

std::size_t count_code_points(std::string_view text) {
  return static_cast<std::size_t>(
      std::ranges::count_if(text, [](char byte) { return (byte & 0xC0) != 0x80; }));
}

std::string padded(const std::string& text, std::size_t width, bool right) {
  const std::string space(width - std::min(width, count_code_points(text)), ' ');
  return right ? space + text : text + space;
}

std::string replace_each(std::string_view text, std::string_view (*replacement)(char)) {
  std::string result;
  for (const char& byte : text) {
    const std::string_view other = replacement(byte);
    result += other.empty() ? std::string_view(&byte, 1) : other;
  }
  return result;
}

std::string_view html_of(char byte) {
  switch (byte) {
    case '&':
      return "&amp;";
    case '<':
      return "&lt;";
    case '>':
      return "&gt;";
    case '"':
      return "&quot;";
    case '\'':
      return "&#39;";
    case '\t':
    case '\n':
      return {};
    default:
      return static_cast<unsigned char>(byte) < 0x20 || byte == 0x7F ? "\xEF\xBF\xBD"
                                                                     : std::string_view();
  }
}

std::string_view latex_of(char byte) {
  switch (byte) {
    case '\\':
      return "\\textbackslash{}";
    case '~':
      return "\\textasciitilde{}";
    case '^':
      return "\\textasciicircum{}";
    case '&':
      return "\\&";
    case '%':
      return "\\%";
    case '$':
      return "\\$";
    case '#':
      return "\\#";
    case '_':
      return "\\_";
    case '{':
      return "\\{";
    case '}':
      return "\\}";
    case '<':
      return "\\textless{}";
    case '>':
      return "\\textgreater{}";
    case '\n':
      return " ";
    default:
      return {};
  }
}

std::string_view markdown_of(char byte) {
  switch (byte) {
    case '|':
      return "\\|";
    case '\\':
      return "\\\\";
    case '`':
      return "\\`";
    case '*':
      return "\\*";
    case '_':
      return "\\_";
    case '<':
      return "&lt;";
    case '&':
      return "&amp;";
    case '\n':
    case '\r':
      return " ";
    default:
      return {};
  }
}

std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\n\r") == std::string::npos) return text;
  return '"' +
         replace_each(text,
                      [](char byte) {
                        return byte == '"' ? std::string_view("\"\"") : std::string_view();
                      }) +
         '"';
}

/// Texts longer than this may be broken into lines, in code points.
constexpr std::size_t kLongText = 32;

std::string cell_attributes(const Table& table, const std::vector<Cell>& row, std::size_t column,
                            const std::string& text) {
  if (is_numeric(table, column)) {
    return fmt::format(" class=\"number\" data-value=\"{}\"", exact(row[column]));
  }
  return count_code_points(text) > kLongText ? " class=\"long\"" : "";
}

}  // namespace

std::string html_escape(std::string_view text) { return replace_each(text, html_of); }

std::string to_markdown(const Table& table) {
  check(table);
  std::vector<std::vector<std::string>> lines(table.rows.size() + 1);
  std::string head;
  for (std::size_t column = 0; column < table.columns.size(); ++column) {
    lines[0].push_back(replace_each(table.columns[column].title, markdown_of));
    for (std::size_t row = 0; row < table.rows.size(); ++row) {
      lines[row + 1].push_back(replace_each(
          shown(table.rows[row][column], table.columns[column].decimals, "–"), markdown_of));
    }
    std::size_t width = 3;
    for (const auto& line : lines) width = std::max(width, count_code_points(line[column]));
    const bool right = is_numeric(table, column);
    for (auto& line : lines) line[column] = padded(line[column], width, right);
    head += "| " + std::string(width - (right ? 1 : 0), '-') + (right ? ": " : " ");
  }
  std::string text;
  for (std::size_t line = 0; line < lines.size(); ++line) {
    for (const auto& field : lines[line]) text += "| " + field + " ";
    text += "|\n";
    if (line == 0) text += head + "|\n";
  }
  return text;
}

std::string to_csv(const Table& table) {
  check(table);
  std::string text;
  const auto add_line = [&](const auto& items, const auto& field) {
    for (std::size_t column = 0; column < items.size(); ++column) {
      text += (column == 0 ? "" : ",") + csv_field(field(items[column]));
    }
    text += '\n';
  };
  add_line(table.columns, [](const Column& column) { return column.title; });
  for (const auto& row : table.rows) add_line(row, exact);
  return text;
}

std::string to_latex(const Table& table) {
  check(table);
  std::string alignment;
  std::string head;
  std::string body;
  for (std::size_t column = 0; column < table.columns.size(); ++column) {
    alignment += is_numeric(table, column) ? 'r' : 'l';
    head += (column == 0 ? "" : " & ") + replace_each(table.columns[column].title, latex_of);
  }
  for (const auto& row : table.rows) {
    for (std::size_t column = 0; column < row.size(); ++column) {
      body += (column == 0 ? "    " : " & ") +
              replace_each(shown(row[column], table.columns[column].decimals, "--"), latex_of);
    }
    body += " \\\\\n";
  }
  return fmt::format(
      "% needs \\usepackage{{booktabs}}\n\\begin{{table}}\n  \\centering\n  \\caption{{{}}}\n  "
      "\\label{{tab:{}}}\n  \\begin{{tabular}}{{{}}}\n    \\toprule\n    {} \\\\\n    "
      "\\midrule\n{}    \\bottomrule\n  \\end{{tabular}}\n\\end{{table}}\n",
      replace_each(table.caption, latex_of), table.name, alignment, head, body);
}

std::string to_html(const Table& table) {
  check(table);
  std::string text = "<table>\n<thead><tr>";
  for (std::size_t column = 0; column < table.columns.size(); ++column) {
    text += fmt::format("<th scope=\"col\"{}>{}</th>",
                        is_numeric(table, column) ? " class=\"number\"" : "",
                        html_escape(table.columns[column].title));
  }
  text += "</tr></thead>\n<tbody>\n";
  for (const auto& row : table.rows) {
    text += "<tr>";
    for (std::size_t column = 0; column < row.size(); ++column) {
      const std::string cell = shown(row[column], table.columns[column].decimals, "–");
      text += fmt::format("<td{}>{}</td>", cell_attributes(table, row, column, cell),
                          html_escape(cell));
    }
    text += "</tr>\n";
  }
  return text + "</tbody>\n</table>\n";
}

}  // namespace espalier
