// Result of every fallible call of the core. The core throws nothing (kernels/README.md, rule K9).
#pragma once
#include <cstdint>

namespace sterna {

enum class StatusCode : uint8_t {
  kOk = 0,
  kMalformedProgram,    // bytes are not a well-formed program (truncated, bad magic, offset out of range, ...)
  kUnsupportedVersion,  // well-formed, of another format version
  kUnsupportedOp,       // opcode or attribute combination that no built kernel handles
  kShapeMismatch,       // tensors of an op do not fit together
  kLimitExceeded,       // arena, constants, ops or tensors beyond the stated limit
  kUnsupportedIsa,      // requested ISA not built in, or not offered by this CPU
  kOutOfMemory,
  kInvalidArgument,
  kDamagedFile,         // a program's file is shorter than stated, cannot be read, or is not what its checksum says
};

// `op` is the index of the offending op, or -1. `message` is a static string.
struct [[nodiscard]] Status {
  StatusCode code = StatusCode::kOk;
  int32_t op = -1;
  const char* message = "";

  bool ok() const { return code == StatusCode::kOk; }
  static Status Ok() { return {}; }
  static Status Error(StatusCode code, const char* message, int32_t op = -1) { return {code, op, message}; }
};

}  // namespace sterna
