// Why a quantized layer runs on the kernel that it does, in words for people.
#pragma once
#include <string>

#include "engine/ops/conv.h"

namespace sterna {

// "29 codes x 19 levels": how few values the input and the weights take, and what kept a layer of so few on 8 bits, if anything did. `kernel` is
// the chosen one. Empty where the program brings the weights packed.
std::string NoteOfCodes(const OpContext& context, const ConvShape& s, int32_t x_zp, const char* kernel);

}  // namespace sterna
