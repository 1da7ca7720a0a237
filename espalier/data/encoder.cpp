// SPDX-License-Identifier: Apache-2.0
#include "espalier/data/encoder.h"

#include <utility>

#include "espalier/base/error.h"

namespace espalier {
namespace {

void check_options(const Tokenizer& tokenizer, const EncoderOptions& options) {
  require(options.patch_size > 0 && options.merge_size > 0,
          "encode: patch_size {} and merge_size {} must be positive", options.patch_size,
          options.merge_size);
  require(options.limits.factor == options.patch_size * options.merge_size,
          "encode: the resize factor is {}; wanted patch_size * merge_size = {} * {}",
          options.limits.factor, options.patch_size, options.merge_size);
  const auto image_pad = tokenizer.id_of("<|image_pad|>");
  require(image_pad == options.image_token_id,
          "encode: the model's image_token_id is {}, but <|image_pad|> is {} in the tokenizer",
          options.image_token_id, image_pad ? std::to_string(*image_pad) : "missing");
}

}  // namespace

EncodedExample encode(const Tokenizer& tokenizer, const std::vector<Message>& messages,
                      std::vector<Image> images, const std::vector<std::string>& image_names,
                      const EncoderOptions& options) {
  check_options(tokenizer, options);
  require(image_names.size() == images.size(), "encode: {} pictures, but {} names for them",
          images.size(), image_names.size());
  EncodedExample example;
  std::vector<std::int64_t> tokens_per_image;
  for (std::size_t i = 0; i < images.size(); ++i) {
    const Size original{.width = images[i].width, .height = images[i].height};
    const Size target = smart_resize(original, options.limits, image_names[i]);
    const ImageGrid grid{
        .t = 1, .h = target.height / options.patch_size, .w = target.width / options.patch_size};
    example.target_sizes.push_back(target);
    example.grids.push_back(grid);
    const std::int64_t merge_size = options.merge_size;
    tokens_per_image.push_back(grid.t * grid.h * grid.w / (merge_size * merge_size));
  }
  example.ids = expand_placeholders(encode_chat(tokenizer, messages, options.chat),
                                    options.image_token_id, tokens_per_image);
  example.images = std::move(images);
  return example;
}

}  // namespace espalier
