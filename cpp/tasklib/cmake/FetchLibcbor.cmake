# Builds the pinned libcbor release into tasklib: static, position-independent, without LTO, its
# symbols local. Its own CMake files are not used: they would bring options, install rules, tests
# and sanitizer flags into the user's build.
set(tasklib_cbor_url https://github.com/PJK/libcbor.git)
set(tasklib_cbor_commit 6730c20ab487c0b4dc5fb3fea918937085355bac)  # release 0.14.0
message(STATUS "tasklib: ${tasklib_cbor_problem}, so libcbor 0.14.0 is built from "
  "${tasklib_cbor_url} (without network: unpack that release and name it with "
  "-DFETCHCONTENT_SOURCE_DIR_LIBCBOR=<directory>)")

include(FetchContent)
FetchContent_Declare(libcbor
  GIT_REPOSITORY ${tasklib_cbor_url} GIT_TAG ${tasklib_cbor_commit}
  SOURCE_SUBDIR no-such-directory)  # download only
FetchContent_MakeAvailable(libcbor)
if(NOT EXISTS ${libcbor_SOURCE_DIR}/src/cbor/streaming.c)
  message(FATAL_ERROR "no libcbor sources in ${libcbor_SOURCE_DIR} (src/cbor/streaming.c is missing)")
endif()

enable_language(C)
set(tasklib_cbor_generated ${CMAKE_CURRENT_BINARY_DIR}/libcbor-generated)
file(CONFIGURE OUTPUT ${tasklib_cbor_generated}/cbor/cbor_export.h CONTENT "#define CBOR_EXPORT\n")
file(CONFIGURE OUTPUT ${tasklib_cbor_generated}/cbor/configuration.h CONTENT
"#define CBOR_MAJOR_VERSION 0
#define CBOR_MINOR_VERSION 14
#define CBOR_PATCH_VERSION 0
#define CBOR_BUFFER_GROWTH 2
#define CBOR_MAX_STACK_SIZE 2048
#define CBOR_PRETTY_PRINTER 0
#define CBOR_RESTRICT_SPECIFIER restrict
")

set(tasklib_cbor_sources)
foreach(source
    allocators cbor cbor/arrays cbor/bytestrings cbor/callbacks cbor/common cbor/encoding
    cbor/floats_ctrls cbor/internal/builder_callbacks cbor/internal/encoders cbor/internal/loaders
    cbor/internal/memory_utils cbor/internal/stack cbor/internal/unicode cbor/ints cbor/maps
    cbor/serialization cbor/streaming cbor/strings cbor/tags)
  list(APPEND tasklib_cbor_sources ${libcbor_SOURCE_DIR}/src/${source}.c)
endforeach()
add_library(tasklib_cbor OBJECT ${tasklib_cbor_sources})
set_target_properties(tasklib_cbor PROPERTIES
  C_STANDARD 99 C_EXTENSIONS OFF POSITION_INDEPENDENT_CODE ON INTERPROCEDURAL_OPTIMIZATION OFF)
target_compile_options(tasklib_cbor PRIVATE -fno-lto -fvisibility=hidden -w)
target_compile_definitions(tasklib_cbor PRIVATE
  CBOR_HAS_BUILTIN_UNREACHABLE $<$<STREQUAL:${CMAKE_C_BYTE_ORDER},BIG_ENDIAN>:IS_BIG_ENDIAN>)
set(tasklib_cbor_include_dirs ${libcbor_SOURCE_DIR}/src ${tasklib_cbor_generated})
target_include_directories(tasklib_cbor PRIVATE ${tasklib_cbor_include_dirs})

target_include_directories(tasklib SYSTEM PRIVATE ${tasklib_cbor_include_dirs})
target_sources(tasklib PRIVATE $<TARGET_OBJECTS:tasklib_cbor>)
include(${CMAKE_CURRENT_LIST_DIR}/EmbedLibcbor.cmake)
tasklib_embed_libcbor()

# libcbor is inside tasklib: these name tasklib itself, so that the classic form stays as it is.
set(CBOR_INCLUDE_DIRS ${CMAKE_CURRENT_SOURCE_DIR}/include)
set(CBOR_LIBRARIES tasklib)
