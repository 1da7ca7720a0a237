// SPDX-License-Identifier: Apache-2.0
#include "espalier/text/nfc.h"

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/uniset.h>

#include <algorithm>
#include <cstdint>
#include <stdexcept>

#include "espalier/base/error.h"

namespace espalier {
namespace {

void check(UErrorCode code, const char* what) {
  if (U_FAILURE(code))
    throw std::runtime_error(fmt::format("ICU: {}: {}", what, u_errorName(code)));
}

const icu::Normalizer2& newest_nfc() {
  UErrorCode code = U_ZERO_ERROR;
  const icu::Normalizer2* nfc = icu::Normalizer2::getNFCInstance(code);
  check(code, "NFC");
  return *nfc;
}

icu::UnicodeSet characters_of_unicode_9() {
  UErrorCode code = U_ZERO_ERROR;
  icu::UnicodeSet set(icu::UnicodeString("[:Age=9.0:]"), code);
  check(code, "the characters of Unicode 9.0");
  set.freeze();
  return set;
}

const icu::Normalizer2& reference_nfc() {
  static const icu::UnicodeSet filter = characters_of_unicode_9();
  static const icu::FilteredNormalizer2 nfc(newest_nfc(), filter);
  return nfc;
}

/// What ICU's newest tables leave alone, older tables leave alone too: they know fewer marks to
/// reorder and fewer pairs to compose.
bool is_nfc(std::string_view text) {
  const auto is_ascii = [](char c) { return static_cast<unsigned char>(c) < 0x80; };
  if (std::ranges::all_of(text, is_ascii)) return true;
  UErrorCode code = U_ZERO_ERROR;
  const bool answer =
      newest_nfc().isNormalizedUTF8({text.data(), static_cast<int32_t>(text.size())}, code);
  check(code, "quick check");
  return answer;
}

}  // namespace

std::string to_nfc(std::string_view text) {
  assume(text.size() <= INT32_MAX, "a text that ICU can index");
  if (is_nfc(text)) return std::string(text);
  std::string result;
  icu::StringByteSink<std::string> sink(&result, static_cast<int32_t>(text.size()));
  UErrorCode code = U_ZERO_ERROR;
  reference_nfc().normalizeUTF8(0, {text.data(), static_cast<int32_t>(text.size())}, sink, nullptr,
                                code);
  check(code, "NFC");
  return result;
}

}  // namespace espalier
