# From the table of isa.cmake and the files that exist: one OBJECT library per ISA, and the table of kernels the registry reads.
#
# A unit <family>/<isa>.cpp defines exactly one symbol, sterna_<family>_<isa> (README.md, "Adding a kernel"). A family whose
# file is not there yet has a null entry: the registry then falls back to the row above.

# family -> C++ type of its descriptor and the member of IsaKernels that points to it
set(STERNA_FAMILIES gemm_q8 dwconv_q8 gemm_f32 dwconv_f32 vector peak)
set(STERNA_TYPE_gemm_q8 GemmQ8Kernel)
set(STERNA_TYPE_dwconv_q8 DwConvQ8Kernel)
set(STERNA_TYPE_gemm_f32 GemmF32Kernel)
set(STERNA_TYPE_dwconv_f32 DwConvF32Kernel)
set(STERNA_TYPE_vector VectorKernels)
set(STERNA_TYPE_peak PeakKernel)

set(STERNA_DTYPE_u8 "static_cast<uint8_t>(DType::kU8)")
set(STERNA_DTYPE_s8 "static_cast<uint8_t>(DType::kS8)")

# Adds sterna_isa_<isa> when the target architecture has it and at least one unit exists; appends to the generated table.
function(sterna_add_isa isa)
  set(declarations "")
  set(members "")
  set(units "")
  foreach(family ${STERNA_FAMILIES})
    file(GLOB unit CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${family}/${isa}.cpp)
    # peak, the last family, computes nothing: alone it makes no ISA.
    if(unit AND STERNA_ISA_UNITS AND STERNA_ISA_${isa}_ARCH MATCHES "^(any|${STERNA_ARCH})$" AND (units OR NOT family STREQUAL peak))
      list(APPEND units ${unit})
      string(APPEND declarations "extern const sterna::${STERNA_TYPE_${family}} sterna_${family}_${isa};\n")
      string(APPEND members ", &sterna_${family}_${isa}")
    else()
      string(APPEND members ", nullptr")
    endif()
  endforeach()
  set(built false)
  if(units)
    set(built true)
    add_library(sterna_isa_${isa} OBJECT ${units})
    target_link_libraries(sterna_isa_${isa} PRIVATE sterna_flags)
    target_compile_options(sterna_isa_${isa} PRIVATE ${STERNA_ISA_${isa}_FLAGS})
    set_property(GLOBAL APPEND PROPERTY STERNA_BUILT_ISAS ${isa})
  endif()
  string(REPLACE ";" " " features "${STERNA_ISA_${isa}_FEATURES}")
  set(row "  {{\"${isa}\", ${STERNA_DTYPE_${STERNA_ISA_${isa}_ACTIVATION}}${members}}, ${built}, \"${STERNA_ISA_${isa}_ARCH}\", \"${features}\"},\n")
  set(STERNA_DECLARATIONS "${STERNA_DECLARATIONS}${declarations}" PARENT_SCOPE)
  set(STERNA_ROWS "${STERNA_ROWS}${row}" PARENT_SCOPE)
endfunction()

function(sterna_add_isas)
  set(STERNA_DECLARATIONS "")
  set(STERNA_ROWS "")
  foreach(isa ${STERNA_ISAS})
    if(NOT isa STREQUAL ref)
      sterna_add_isa(${isa})
    endif()
  endforeach()
  configure_file(cmake/isa_tables.cpp.in ${CMAKE_CURRENT_BINARY_DIR}/generated/isa_tables.cpp @ONLY)
endfunction()
