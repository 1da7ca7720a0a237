// SPDX-License-Identifier: Apache-2.0
#include "espalier/base/hash.h"

#include <openssl/evp.h>
#include <xxhash.h>

#include <array>

#include "espalier/base/error.h"

namespace espalier {

struct Sha256::Context {
  EVP_MD_CTX* digest = EVP_MD_CTX_new();
  Context() = default;
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  ~Context() { EVP_MD_CTX_free(digest); }
};

Sha256::Sha256() : context_(std::make_unique<Context>()) {
  assume(EVP_DigestInit_ex(context_->digest, EVP_sha256(), nullptr) == 1, "SHA-256 is there");
}

Sha256::~Sha256() = default;

void Sha256::update(std::span<const std::byte> bytes) {
  assume(context_ != nullptr, "nothing is hashed after finish");
  assume(EVP_DigestUpdate(context_->digest, bytes.data(), bytes.size()) == 1, "SHA-256 goes on");
}

void Sha256::update(std::string_view text) {
  update(std::as_bytes(std::span(text.data(), text.size())));
}

std::string Sha256::finish() {
  assume(context_ != nullptr, "finish is called once");
  std::array<unsigned char, 32> digest{};
  assume(EVP_DigestFinal_ex(context_->digest, digest.data(), nullptr) == 1, "SHA-256 ends");
  context_.reset();
  return to_hexadecimal(digest);
}

std::array<std::uint8_t, 16> xxh3_128(std::initializer_list<std::span<const std::byte>> pieces) {
  const std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state(XXH3_createState(),
                                                                       &XXH3_freeState);
  assume(state != nullptr, "there is memory for a hash");
  XXH3_128bits_reset(state.get());
  for (const auto piece : pieces) XXH3_128bits_update(state.get(), piece.data(), piece.size());
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state.get()));
  return std::to_array(canonical.digest);
}

std::string to_hexadecimal(std::span<const std::uint8_t> bytes) {
  std::string hexadecimal;
  for (const std::uint8_t byte : bytes) hexadecimal += fmt::format("{:02x}", byte);
  return hexadecimal;
}

}  // namespace espalier
