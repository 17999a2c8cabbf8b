#include "sterna/checksum.h"

#include <cstring>

namespace sterna {
namespace {

constexpr uint64_t kPrime1 = 0x9e3779b185ebca87u, kPrime2 = 0xc2b2ae3d27d4eb4fu, kPrime3 = 0x165667b19e3779f9u, kPrime4 = 0x85ebca77c2b2ae63u,
                   kPrime5 = 0x27d4eb2f165667c5u;

uint64_t Rotate(uint64_t v, int by) { return (v << by) | (v >> (64 - by)); }

template <typename T>
T Read(const uint8_t* p) {
  T v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}

uint64_t Round(uint64_t lane, uint64_t input) { return Rotate(lane + input * kPrime2, 31) * kPrime1; }

// What is left after the stripes: words, a half word, bytes.
uint64_t MixTail(uint64_t h, const uint8_t* p, size_t size) {
  for (; size >= 8; p += 8, size -= 8) h = Rotate(h ^ Round(0, Read<uint64_t>(p)), 27) * kPrime1 + kPrime4;
  for (; size >= 4; p += 4, size -= 4) h = Rotate(h ^ Read<uint32_t>(p) * kPrime1, 23) * kPrime2 + kPrime3;
  for (; size > 0; ++p, --size) h = Rotate(h ^ *p * kPrime5, 11) * kPrime1;
  return h;
}

}  // namespace

void Checksum::Add(const uint8_t* bytes, size_t size) {
  total_ += size;
  uint64_t a = lanes_[0], b = lanes_[1], c = lanes_[2], d = lanes_[3];
  for (; size >= kStripe; bytes += kStripe, size -= kStripe) {
    a = Round(a, Read<uint64_t>(bytes));
    b = Round(b, Read<uint64_t>(bytes + 8));
    c = Round(c, Read<uint64_t>(bytes + 16));
    d = Round(d, Read<uint64_t>(bytes + 24));
  }
  lanes_[0] = a, lanes_[1] = b, lanes_[2] = c, lanes_[3] = d;
  if (size > 0) std::memcpy(tail_, bytes, size);
}

uint64_t Checksum::Finish() const {
  uint64_t h = kPrime5;  // of less than one stripe
  if (total_ >= kStripe) {
    h = Rotate(lanes_[0], 1) + Rotate(lanes_[1], 7) + Rotate(lanes_[2], 12) + Rotate(lanes_[3], 18);
    for (const uint64_t lane : lanes_) h = (h ^ Round(0, lane)) * kPrime1 + kPrime4;
  }
  h = MixTail(h + total_, tail_, total_ % kStripe);
  h = (h ^ (h >> 33)) * kPrime2;
  h = (h ^ (h >> 29)) * kPrime3;
  return h ^ (h >> 32);
}

}  // namespace sterna
