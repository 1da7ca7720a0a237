// SPDX-License-Identifier: Apache-2.0
#include "espalier/base/hash.h"

#include <openssl/evp.h>

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
  std::string hexadecimal;
  for (const unsigned char byte : digest) hexadecimal += fmt::format("{:02x}", byte);
  return hexadecimal;
}

}  // namespace espalier
