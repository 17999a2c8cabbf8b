// The contracts of the kernels that the engine calls: the epilogues, and kernel.h of each family.
#pragma once
#include "families/bit_planes/kernel.h"
#include "families/dwconv_f32/kernel.h"
#include "families/dwconv_q8/kernel.h"
#include "families/gemm_bnn/kernel.h"
#include "families/gemm_f32/kernel.h"
#include "families/gemm_f32w4/kernel.h"
#include "families/gemm_q8/kernel.h"
#include "families/gemm_w46/kernel.h"
#include "families/peak/kernel.h"
#include "families/unary_f32/kernel.h"
#include "families/vector/kernel.h"
#include "sterna/epilogue.h"
