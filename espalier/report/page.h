// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace espalier {

/// One part of a page, with an entry in its contents.
struct PageSection {
  std::string id;  ///< letters and hyphens, once a page
  std::string title;
  std::string html;
};

/// A page that is complete in itself: styles and a small script (which sorts tables) are inside, it
/// asks no network, and reads well without the script, in the light, in the dark and on paper.
///
/// \param title, subtitle  plain text
std::string html_page(std::string_view title, std::string_view subtitle,
                      const std::vector<PageSection>& sections);

/// A paragraph of plain text.
std::string html_paragraph(std::string_view text);

/// A table that scrolls by itself where it is too wide; `html` is that of `to_html`.
std::string html_scroll(std::string_view html);

/// What is shown only on request.
///
/// \param summary  plain text
std::string html_details(std::string_view summary, std::string_view html);

/// A list of plain texts.
std::string html_list(const std::vector<std::string>& items);

}  // namespace espalier
