// SPDX-License-Identifier: Apache-2.0
#include "espalier/report/page.h"

#include <fmt/format.h>

#include "espalier/report/table.h"

namespace espalier {

namespace {

// The colours --figure-... take the places of those in figure.h.
constexpr std::string_view kStyle = R"(
:root {
  color-scheme: light dark;
  --page: #fefefe; --text: #202124; --quiet: #5a5e63; --rule: #dadce0; --panel: #f3f5f7;
  --link: #1f4e79;
  --figure-ink: #202124; --figure-muted: #64686d; --figure-line: #b9bdc2;
  --figure-kept: #e3e6e9; --figure-paper: #fefefe; --figure-removed: #1f4e79;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #15181c; --text: #e8eaed; --quiet: #a3a9b0; --rule: #3a4047; --panel: #1e2328;
    --link: #8ec0ee;
    --figure-ink: #e8eaed; --figure-muted: #a3a9b0; --figure-line: #5b626a;
    --figure-kept: #2c3239; --figure-paper: #15181c; --figure-removed: #7db4e8;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 52rem; background: var(--page);
  color: var(--text); font: 1rem/1.55 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif;
}
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2.75rem 0 0.75rem; }
p, li { max-width: 44rem; overflow-wrap: anywhere; }
.subtitle { color: var(--quiet); margin: 0.35rem 0 0; }
nav { margin: 1.1rem 0 1.25rem; padding: 0.55rem 0; border: solid var(--rule); border-width: 1px 0; }
nav a { margin-right: 1.1rem; white-space: nowrap; }
a { color: var(--link); }
.answer { padding: 0.35rem 1.1rem 0.9rem; background: var(--panel); border-radius: 0.4rem; }
.answer h2 { margin: 0.9rem 0 0.5rem; }
.answer p { margin: 0.5rem 0 0.75rem; }
.answer dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.35rem 1.1rem; margin: 0; }
.answer dt { font-size: 1.25rem; font-weight: 650; font-variant-numeric: tabular-nums; }
.answer dd { margin: 0; font-size: 1.25rem; overflow-wrap: anywhere; }
.answer dd small { display: block; font-size: 0.875rem; color: var(--quiet); }
figure { margin: 1.75rem 0 2rem; }
figure .scroll { padding: 0.25rem 0; }
figure svg { display: block; width: 100%; max-width: 41rem; min-width: 25rem; height: auto; }
figcaption, .note { color: var(--quiet); font-size: 0.9rem; max-width: 41rem; margin-top: 0.6rem; }
figcaption b { color: var(--text); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.875rem; line-height: 1.4; margin: 0.75rem 0; }
th, td { padding: 0.3rem 0.75rem 0.3rem 0; text-align: left; vertical-align: top; }
th { border-bottom: 1px solid var(--quiet); font-weight: 650; }
td { border-bottom: 1px solid var(--rule); font-variant-numeric: tabular-nums; }
td { white-space: nowrap; }
td.long { white-space: normal; min-width: 16rem; }
.number { text-align: right; }
th button { all: unset; cursor: pointer; }
th button:hover, th button:focus-visible { text-decoration: underline; }
th[aria-sort="ascending"] button::after { content: " ▲"; font-size: 0.7em; }
th[aria-sort="descending"] button::after { content: " ▼"; font-size: 0.7em; }
details { margin: 0.75rem 0; }
summary { cursor: pointer; color: var(--link); }
code { font: 0.875em ui-monospace, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
@media print {
  :root {
    --page: #fff; --text: #000; --quiet: #444; --rule: #bbb; --panel: #fff; --link: #000;
    --figure-ink: #202124; --figure-muted: #64686d; --figure-line: #b9bdc2;
    --figure-kept: #e3e6e9; --figure-paper: #fefefe; --figure-removed: #1f4e79;
  }
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav, summary { display: none; }
  .answer { border: 1px solid #bbb; }
  .scroll { overflow: visible; }
  table { font-size: 7.5pt; }
  td { white-space: normal; }
  td.long { min-width: 6rem; }
  th, td { padding-right: 0.5rem; }
  figure svg { min-width: 0; max-height: 21cm; }
  figure, .answer, tr { break-inside: avoid; }
  h2 { break-after: avoid; }
}
)";

constexpr std::string_view kScript = R"(
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.onclick = () => {
      const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      const value = row => row.cells[column].dataset.value ?? row.cells[column].textContent;
      const compare = (a, b) => a.localeCompare(b, "en", { numeric: true });
      const numeric = head.className === "number";
      const order = (a, b) => sign * (numeric ? value(a) - value(b) : compare(value(a), value(b)));
      for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      body.append(...[...body.rows].sort(order));
    };
  });
}
)";

}  // namespace

std::string html_page(std::string_view title, std::string_view subtitle,
                      const std::vector<PageSection>& sections) {
  std::string contents;
  std::string body;
  for (const auto& section : sections) {
    contents += fmt::format("<a href=\"#{}\">{}</a>\n", section.id, html_escape(section.title));
    body += fmt::format("<section id=\"{}\"{}>\n<h2>{}</h2>\n{}</section>\n", section.id,
                        section.id == "answer" ? " class=\"answer\"" : "",
                        html_escape(section.title), section.html);
  }
  return fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta name=\"generator\" content=\"espalier " ESPALIER_VERSION
      "\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
      "'unsafe-inline'; script-src 'unsafe-inline'\">\n"
      "<title>{0}</title>\n<style>{1}</style>\n</head>\n<body>\n<header>\n<h1>{0}</h1>\n"
      "<p class=\"subtitle\">{2}</p>\n</header>\n<nav aria-label=\"contents\">\n{3}</nav>\n"
      "<main>\n{4}</main>\n<script>{5}</script>\n</body>\n</html>\n",
      html_escape(title), kStyle, html_escape(subtitle), contents, body, kScript);
}

std::string html_paragraph(std::string_view text) {
  return fmt::format("<p>{}</p>\n", html_escape(text));
}

std::string html_scroll(std::string_view html) {
  return fmt::format("<div class=\"scroll\">\n{}</div>\n", html);
}

std::string html_details(std::string_view summary, std::string_view html) {
  return fmt::format("<details>\n<summary>{}</summary>\n{}</details>\n", html_escape(summary),
                     html);
}

std::string html_list(const std::vector<std::string>& items) {
  std::string text = "<ul>\n";
  for (const auto& item : items) text += fmt::format("<li>{}</li>\n", html_escape(item));
  return text + "</ul>\n";
}

}  // namespace espalier
