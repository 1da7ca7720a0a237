// SPDX-License-Identifier: Apache-2.0
#include <webp/decode.h>
#include <webp/demux.h>

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>

#include "espalier/image/decoders.h"

namespace espalier {

namespace {

struct DeleteDemuxer {
  void operator()(WebPDemuxer* demuxer) const { WebPDemuxDelete(demuxer); }
};

struct DeleteDecoder {
  void operator()(WebPAnimDecoder* decoder) const { WebPAnimDecoderDelete(decoder); }
};

/// The RIFF container says how long the file is: bytes 4 to 7, from byte 8 on.
bool is_truncated(std::span<const std::byte> bytes) {
  if (bytes.size() < 12) return true;
  std::size_t declared = 0;
  for (std::size_t i = 7; i >= 4; --i)
    declared = declared << 8 | std::to_integer<unsigned>(bytes[i]);
  return bytes.size() - 8 < declared;
}

std::string find_chunk(const WebPDemuxer* demuxer, const char* name) {
  WebPChunkIterator chunk;
  std::string data;
  if (WebPDemuxGetChunk(demuxer, name, 1, &chunk) != 0) {
    data.assign(reinterpret_cast<const char*>(chunk.chunk.bytes), chunk.chunk.size);
  }
  WebPDemuxReleaseChunkIterator(&chunk);
  return data;
}

PictureMetadata find_metadata(const WebPDemuxer* demuxer) {
  PictureMetadata metadata{.exif = find_chunk(demuxer, "EXIF"), .xmp = find_chunk(demuxer, "XMP ")};
  if (metadata.exif->empty()) metadata.exif.reset();
  return metadata;
}

WebPData data_of(const EncodedPicture& picture) {
  return {.bytes = reinterpret_cast<const std::uint8_t*>(picture.bytes.data()),
          .size = picture.bytes.size()};
}

[[noreturn]] void fail(const EncodedPicture& picture, std::string_view reason) {
  refuse(picture, "WebP", {.truncated = is_truncated(picture.bytes), .reason = reason});
}

WebPBitstreamFeatures read_features(const EncodedPicture& picture) {
  const WebPData data = data_of(picture);
  WebPBitstreamFeatures features;
  if (WebPGetFeatures(data.bytes, data.size, &features) != VP8_STATUS_OK) {
    fail(picture, "its header is broken");
  }
  return features;
}

}  // namespace

StoredSize measure_webp(const EncodedPicture& picture) {
  const WebPBitstreamFeatures features = read_features(picture);
  const Size size = declared_size(picture, features.width, features.height);
  const WebPData data = data_of(picture);
  const std::unique_ptr<WebPDemuxer, DeleteDemuxer> demuxer(WebPDemux(&data));
  if (!demuxer) fail(picture, "its chunks are broken");
  return {.size = size, .metadata = find_metadata(demuxer.get())};
}

StoredPicture decode_webp(const EncodedPicture& picture) {
  const WebPBitstreamFeatures features = read_features(picture);
  const WebPData data = data_of(picture);
  // Before the decoder is made, since that allocates the canvas.
  StoredPicture stored{.image = new_image(picture, features.width, features.height),
                       .metadata = {}};

  // The decoder of animations, as in Pillow, for still pictures too: the first frame on its canvas.
  const std::unique_ptr<WebPAnimDecoder, DeleteDecoder> decoder(WebPAnimDecoderNew(&data, nullptr));
  if (!decoder) fail(picture, "its chunks are broken");
  std::uint8_t* rgba = nullptr;
  int timestamp = 0;
  if (WebPAnimDecoderGetNext(decoder.get(), &rgba, &timestamp) == 0)
    fail(picture, "its pixels are broken");

  const std::size_t pixels = stored.image.rgb.size() / 3;
  if (features.has_alpha != 0) {
    composite_over_white(rgba, stored.image.rgb.data(), pixels);
  } else {
    // Not by the fourth byte: outside the frames of an animation without alpha it is 0, on black.
    for (std::size_t pixel = 0; pixel < pixels; ++pixel) {
      std::copy_n(rgba + 4 * pixel, 3, stored.image.rgb.data() + 3 * pixel);
    }
  }
  stored.metadata = find_metadata(WebPAnimDecoderGetDemuxer(decoder.get()));
  return stored;
}

}  // namespace espalier
