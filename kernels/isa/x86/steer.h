// Statements that steer the compiler by inline assembly, and what they compute in plain C++.
#pragma once

// The second operand takes the place of the first where units are emulated at source level (isa/emulate/immintrin.h): there is no such register.
#ifdef STERNA_SOURCE_EMULATION
#define STERNA_STEER(assembly, plain) plain
#else
#define STERNA_STEER(assembly, plain) assembly
#endif
