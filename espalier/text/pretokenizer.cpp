// SPDX-License-Identifier: Apache-2.0
#include "espalier/text/pretokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>

#include "espalier/base/error.h"
#include "espalier/text/unicode_classes.h"

namespace espalier {
namespace {

constexpr std::size_t kStackStartBytes = 32 << 10;
constexpr std::size_t kStackLimitBytes = 64 << 20;

template <auto Free>
struct Deleter {
  template <typename T>
  void operator()(T* pointer) const {
    Free(pointer);
  }
};

using CodePointer = std::unique_ptr<pcre2_code, Deleter<pcre2_code_free>>;
using DataPointer = std::unique_ptr<pcre2_match_data, Deleter<pcre2_match_data_free>>;
using ContextPointer = std::unique_ptr<pcre2_match_context, Deleter<pcre2_match_context_free>>;
using StackPointer = std::unique_ptr<pcre2_jit_stack, Deleter<pcre2_jit_stack_free>>;

std::string message_of(int error) {
  std::string text(256, '\0');
  const int length =
      pcre2_get_error_message(error, reinterpret_cast<PCRE2_UCHAR*>(text.data()), text.size());
  return length < 0 ? fmt::format("error {}", error)
                    : text.substr(0, static_cast<std::size_t>(length));
}

/// The inside of a bracket expression.
std::string class_text(std::span<const CodePointRange> ranges) {
  std::string text;
  for (const CodePointRange& range : ranges) {
    text += fmt::format("\\x{{{:x}}}-\\x{{{:x}}}", static_cast<std::uint32_t>(range.first),
                        static_cast<std::uint32_t>(range.last));
  }
  return text;
}

/// kQwen2SplitPattern for PCRE2. The case-blind contractions are written out too: of all code
/// points only U+017F folds onto one of their letters (probed in the reference, one by one).
std::string pattern() {
  const std::string letter = class_text(letters());
  const std::string number = class_text(numbers());
  const std::string space = class_text(white_space());
  return fmt::format(
      "'(?:[sStTmMdD\\x{{17f}}]|[rRvV][eE]|[lL][lL])"
      "|[^\\r\\n{0}{1}]?[{0}]+"
      "|[{1}]"
      "| ?[^{2}{0}{1}]+[\\r\\n]*"
      "|[{2}]*[\\r\\n]+"
      "|[{2}]+(?![^{2}])"
      "|[{2}]+",
      letter, number, space);
}

/// What one thread at a time needs to match.
struct Matcher {
  DataPointer data{pcre2_match_data_create(1, nullptr)};
  ContextPointer context{pcre2_match_context_create(nullptr)};
  StackPointer stack{pcre2_jit_stack_create(kStackStartBytes, kStackLimitBytes, nullptr)};

  Matcher() {
    if (!data || !context || !stack) throw std::bad_alloc();
    pcre2_jit_stack_assign(context.get(), nullptr, stack.get());
    // The pattern cannot run away: no alternative looks at a character more than a few times. So
    // the limits that guard against patterns would only refuse long texts.
    pcre2_set_match_limit(context.get(), UINT32_MAX);
    pcre2_set_depth_limit(context.get(), UINT32_MAX);
    pcre2_set_heap_limit(context.get(), UINT32_MAX);
  }
};

}  // namespace

struct Pretokenizer::Code {
  CodePointer pattern;
};

Pretokenizer::Pretokenizer() {
  const std::string text = pattern();
  int error = 0;
  PCRE2_SIZE offset = 0;
  CodePointer code(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                                 PCRE2_UTF | PCRE2_ANCHORED, &error, &offset, nullptr));
  if (!code) {
    throw std::logic_error(fmt::format("the split pattern at {}: {}", offset, message_of(error)));
  }
  // Where PCRE2 has no JIT for this machine, matching is interpreted: slower, the same pieces.
  pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE);
  code_ = std::make_unique<const Code>(std::move(code));
}

Pretokenizer::~Pretokenizer() = default;

void Pretokenizer::split(std::string_view text,
                         const std::function<void(std::string_view)>& take) const {
  if (text.empty()) return;
  // Made once a thread: to map and unmap a stack takes longer than to match a short text.
  static thread_local const Matcher matcher;
  for (std::size_t position = 0; position < text.size();) {
    const int result =
        pcre2_match(code_->pattern.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                    position, PCRE2_NO_UTF_CHECK, matcher.data.get(), matcher.context.get());
    if (result < 0) {
      throw std::runtime_error(fmt::format("splitting the text at byte {} of {}: {}", position,
                                           text.size(), message_of(result)));
    }
    const std::size_t end = pcre2_get_ovector_pointer(matcher.data.get())[1];
    assume(end > position, "every alternative of the split pattern takes a character");
    take(text.substr(position, end - position));
    position = end;
  }
}

}  // namespace espalier
