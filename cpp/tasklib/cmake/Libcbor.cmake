# Gives the target tasklib its libcbor, as TASKLIB_LIBCBOR says, and sets
#   CBOR_INCLUDE_DIRS, CBOR_LIBRARIES     what users of the classic form name
#   TASKLIB_CBOR_FILE, TASKLIB_CBOR_SONAME  only with a shared libcbor: what an install must carry
set(TASKLIB_LIBCBOR AUTO CACHE STRING
  "SYSTEM: an installed libcbor >= 0.8; FETCH: build the pinned release into tasklib; AUTO: installed if there is one, else fetch")
set_property(CACHE TASKLIB_LIBCBOR PROPERTY STRINGS AUTO SYSTEM FETCH)
if(NOT TASKLIB_LIBCBOR MATCHES "^(AUTO|SYSTEM|FETCH)$")
  message(FATAL_ERROR "TASKLIB_LIBCBOR is '${TASKLIB_LIBCBOR}'; use AUTO, SYSTEM or FETCH")
endif()

set(tasklib_cbor_problem "TASKLIB_LIBCBOR=FETCH")
if(NOT TASKLIB_LIBCBOR STREQUAL FETCH)
  find_path(TASKLIB_CBOR_INCLUDE_DIR cbor.h)
  find_library(TASKLIB_CBOR_LIBRARY cbor)
  mark_as_advanced(TASKLIB_CBOR_INCLUDE_DIR TASKLIB_CBOR_LIBRARY)
  if(TASKLIB_CBOR_INCLUDE_DIR AND TASKLIB_CBOR_LIBRARY)
    file(STRINGS ${TASKLIB_CBOR_INCLUDE_DIR}/cbor/configuration.h tasklib_cbor_numbers
      REGEX "CBOR_(MAJOR|MINOR|PATCH)_VERSION")
    string(REGEX MATCHALL "[0-9]+" tasklib_cbor_version "${tasklib_cbor_numbers}")
    string(REPLACE ";" "." tasklib_cbor_version "${tasklib_cbor_version}")
    if(tasklib_cbor_version VERSION_LESS 0.8)
      set(tasklib_cbor_problem "libcbor ${tasklib_cbor_version} in ${TASKLIB_CBOR_LIBRARY} is older than 0.8")
    else()
      set(tasklib_cbor_problem "")
    endif()
  else()
    set(tasklib_cbor_problem "no libcbor is installed")
  endif()
  if(tasklib_cbor_problem AND TASKLIB_LIBCBOR STREQUAL SYSTEM)
    message(FATAL_ERROR "TASKLIB_LIBCBOR=SYSTEM, but ${tasklib_cbor_problem}. "
      "Install it (Debian: apt-get install libcbor-dev) or use -DTASKLIB_LIBCBOR=FETCH")
  endif()
endif()

if(tasklib_cbor_problem)
  include(${CMAKE_CURRENT_LIST_DIR}/FetchLibcbor.cmake)
else()
  message(STATUS "tasklib: libcbor ${tasklib_cbor_version}, ${TASKLIB_CBOR_LIBRARY}")
  set(CBOR_INCLUDE_DIRS ${TASKLIB_CBOR_INCLUDE_DIR})
  set(CBOR_LIBRARIES ${TASKLIB_CBOR_LIBRARY})
  target_include_directories(tasklib SYSTEM PRIVATE ${CBOR_INCLUDE_DIRS})
  if(CBOR_LIBRARIES MATCHES "\\.a$")
    include(${CMAKE_CURRENT_LIST_DIR}/EmbedLibcbor.cmake)
    tasklib_embed_libcbor(${CBOR_LIBRARIES})
  else()
    # An install carries the shared library; tasklibConfig.cmake defines tasklib::cbor for it.
    target_link_libraries(tasklib PRIVATE
      $<BUILD_INTERFACE:${CBOR_LIBRARIES}> $<INSTALL_INTERFACE:tasklib::cbor>)
    file(REAL_PATH ${CBOR_LIBRARIES} TASKLIB_CBOR_FILE)
    execute_process(COMMAND ${CMAKE_READELF} -d ${TASKLIB_CBOR_FILE}
      OUTPUT_VARIABLE tasklib_cbor_dynamic COMMAND_ERROR_IS_FATAL ANY)
    string(REGEX MATCH "SONAME[^[]*\\[([^]]+)\\]" tasklib_cbor_dynamic "${tasklib_cbor_dynamic}")
    set(TASKLIB_CBOR_SONAME ${CMAKE_MATCH_1})
  endif()
endif()
