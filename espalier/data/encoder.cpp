// SPDX-License-Identifier: Apache-2.0
#include "espalier/data/encoder.h"

#include <utility>

#include "espalier/base/error.h"

namespace espalier {
namespace {

void check_sizes(const EncoderOptions& options) {
  require(options.patch_size > 0 && options.merge_size > 0,
          "encode: patch_size {} and merge_size {} must be positive", options.patch_size,
          options.merge_size);
  require(options.limits.factor == options.patch_size * options.merge_size,
          "encode: the resize factor is {}; wanted patch_size * merge_size = {} * {}",
          options.limits.factor, options.patch_size, options.merge_size);
}

void check_placeholder(const Tokenizer& tokenizer, const EncoderOptions& options) {
  const auto image_pad = tokenizer.id_of("<|image_pad|>");
  require(image_pad == options.image_token_id,
          "encode: the model's image_token_id is {}, but <|image_pad|> is {} in the tokenizer",
          options.image_token_id, image_pad ? std::to_string(*image_pad) : "missing");
}

}  // namespace

PlacedPictures place_pictures(const std::vector<Size>& originals,
                              const std::vector<std::string>& names,
                              const EncoderOptions& options) {
  check_sizes(options);
  require(names.size() == originals.size(), "encode: {} pictures, but {} names for them",
          originals.size(), names.size());
  PlacedPictures placed;
  for (std::size_t i = 0; i < originals.size(); ++i) {
    const Size target = smart_resize(originals[i], options.limits, names[i]);
    placed.target_sizes.push_back(target);
    placed.grids.push_back(
        {.t = 1, .h = target.height / options.patch_size, .w = target.width / options.patch_size});
  }
  return placed;
}

std::vector<std::int64_t> encode_ids(const Tokenizer& tokenizer,
                                     const std::vector<Message>& messages,
                                     const std::vector<ImageGrid>& grids,
                                     const EncoderOptions& options) {
  return encode_turns(tokenizer, messages, grids, options).ids;
}

EncodedChat encode_turns(const Tokenizer& tokenizer, const std::vector<Message>& messages,
                         const std::vector<ImageGrid>& grids, const EncoderOptions& options) {
  check_sizes(options);
  check_placeholder(tokenizer, options);
  const std::int64_t merge_size = options.merge_size;
  std::vector<std::int64_t> tokens_per_image;
  tokens_per_image.reserve(grids.size());
  for (const ImageGrid& grid : grids) {
    tokens_per_image.push_back(grid.patches() / (merge_size * merge_size));
  }
  return expand_placeholders(encode_chat_turns(tokenizer, messages, options.chat),
                             options.image_token_id, tokens_per_image);
}

EncodedExample encode(const Tokenizer& tokenizer, const std::vector<Message>& messages,
                      std::vector<Image> images, const std::vector<std::string>& image_names,
                      const EncoderOptions& options) {
  std::vector<Size> originals;
  originals.reserve(images.size());
  for (const Image& image : images) {
    originals.push_back({.width = image.width, .height = image.height});
  }
  PlacedPictures placed = place_pictures(originals, image_names, options);
  return {.ids = encode_ids(tokenizer, messages, placed.grids, options),
          .images = std::move(images),
          .target_sizes = std::move(placed.target_sizes),
          .grids = std::move(placed.grids)};
}

}  // namespace espalier
