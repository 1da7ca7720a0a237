// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "espalier/image/image.h"
#include "espalier/image/smart_resize.h"
#include "espalier/text/chat_template.h"
#include "espalier/text/tokenizer.h"

namespace espalier {

/// What the encoder must know of a model. Filled by the caller, since this folder knows no
/// checkpoint.
struct EncoderOptions {
  ResizeLimits limits;
  int patch_size;
  int merge_size;
  std::int64_t image_token_id;
  ChatOptions chat;
};

/// A picture's place on the patch grid: patches down and across; one frame pair.
struct ImageGrid {
  std::int64_t t;  ///< 1 for a still picture
  std::int64_t h;
  std::int64_t w;
  bool operator==(const ImageGrid&) const = default;

  [[nodiscard]] std::int64_t patches() const { return t * h * w; }
};

/// How the model sees pictures: the size that each is brought to, and its patches.
struct PlacedPictures {
  std::vector<Size> target_sizes;
  std::vector<ImageGrid> grids;
  bool operator==(const PlacedPictures&) const = default;
};

/// Fits pictures of these sizes.
///
/// \throws InputError as smart_resize does, or if the options contradict each other
PlacedPictures place_pictures(const std::vector<Size>& originals,
                              const std::vector<std::string>& names, const EncoderOptions& options);

/// Token ids of a conversation about pictures of these grids.
///
/// \throws InputError as encode_chat and expand_placeholders do
std::vector<std::int64_t> encode_ids(const Tokenizer& tokenizer,
                                     const std::vector<Message>& messages,
                                     const std::vector<ImageGrid>& grids,
                                     const EncoderOptions& options);

/// The same ids, and which of them are the assistant's.
///
/// \throws InputError as encode_chat_turns and expand_placeholders do
EncodedChat encode_turns(const Tokenizer& tokenizer, const std::vector<Message>& messages,
                         const std::vector<ImageGrid>& grids, const EncoderOptions& options);

/// A conversation as the model takes it, still without tensors.
struct EncodedExample {
  std::vector<std::int64_t> ids;   ///< placeholders repeated once a merged visual token
  std::vector<Image> images;       ///< oriented RGB, original size
  std::vector<Size> target_sizes;  ///< what each picture is resized to
  std::vector<ImageGrid> grids;
};

/// Encodes a conversation with its pictures, in order of their placeholders.
///
/// \throws InputError as encode_chat, smart_resize and expand_placeholders do
EncodedExample encode(const Tokenizer& tokenizer, const std::vector<Message>& messages,
                      std::vector<Image> images, const std::vector<std::string>& image_names,
                      const EncoderOptions& options);

}  // namespace espalier
