# build/<preset>/sterna.node: the only target that knows Node-API. Headers come from npm, so that nothing is downloaded here.
set(STERNA_NODE_MODULES ${CMAKE_CURRENT_SOURCE_DIR}/../node_modules CACHE PATH "Where node-api-headers and node-addon-api are")
set(STERNA_NODE_API_HEADERS ${STERNA_NODE_MODULES}/node-api-headers CACHE PATH "The package node-api-headers")
set(STERNA_NODE_ADDON_API ${STERNA_NODE_MODULES}/node-addon-api CACHE PATH "The package node-addon-api")
if(NOT EXISTS ${STERNA_NODE_API_HEADERS}/include/node_api.h OR NOT EXISTS ${STERNA_NODE_ADDON_API}/napi.h)
  message(FATAL_ERROR "node-api-headers is not in ${STERNA_NODE_API_HEADERS}, or node-addon-api not in ${STERNA_NODE_ADDON_API}: run `npm ci`, or configure with -DSTERNA_NODE=OFF")
endif()

file(GLOB STERNA_NODE_SOURCES CONFIGURE_DEPENDS node/*.cpp)
add_library(sterna_node MODULE ${STERNA_NODE_SOURCES})
set_target_properties(sterna_node PROPERTIES PREFIX "" OUTPUT_NAME sterna SUFFIX .node)
target_include_directories(sterna_node SYSTEM PRIVATE ${STERNA_NODE_API_HEADERS}/include ${STERNA_NODE_ADDON_API})
# A worker that is terminated in the middle of a call can take no exception: swallowed, since node-addon-api ends the process otherwise.
target_compile_definitions(sterna_node PRIVATE NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS NAPI_VERSION=8 NODE_ADDON_API_DISABLE_CPP_EXCEPTIONS NAPI_DISABLE_CPP_EXCEPTIONS BUILDING_NODE_EXTENSION)
target_link_libraries(sterna_node PRIVATE sterna_core)
# Calls from JavaScript check arguments and make objects, once a run: node-addon-api, inlined everywhere, would be a sixth of the addon.
target_compile_options(sterna_node PRIVATE $<$<CONFIG:Release>:-Os>)
if(CMAKE_SYSTEM_NAME STREQUAL Linux)
  # A prebuilt addon must not want a newer libstdc++ than the machine has; nothing of ours but the module's entry is for others.
  target_link_options(sterna_node PRIVATE -static-libstdc++ -Wl,--exclude-libs,ALL -Wl,--gc-sections)
endif()
if(APPLE)
  target_link_options(sterna_node PRIVATE -undefined dynamic_lookup)
endif()
