// rows_f32/avx512vnni: the functions of rows.h on zmm registers.
#include "kernel.h"
#include "isa/x86/vec_avx512.h"
#include "rows.h"

extern "C" {
extern const sterna::RowsF32Kernels sterna_rows_f32_avx512vnni;
const sterna::RowsF32Kernels sterna_rows_f32_avx512vnni = sterna::Rows<sterna::Vec512>::Kernels("rows_f32/avx512vnni");
}
