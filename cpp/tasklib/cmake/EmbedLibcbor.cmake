# Moves a static libcbor (an archive, or nothing if its objects are sources of tasklib already)
# into libtasklib.a and makes its symbols local there, so that an executor may define or link
# another libcbor. Only one relocatable object can have local symbols that all of its parts use,
# hence the archive ends up with a single member.
function(tasklib_embed_libcbor)
  # Link-time-optimised objects can't be linked into a relocatable one, nor by another compiler.
  target_compile_options(tasklib PRIVATE -fno-lto)
  set_target_properties(tasklib PROPERTIES INTERPROCEDURAL_OPTIMIZATION OFF)
  set(object ${CMAKE_CURRENT_BINARY_DIR}/tasklib-whole.o)
  add_custom_command(TARGET tasklib POST_BUILD VERBATIM
    COMMAND ${CMAKE_LINKER} -r -o ${object} --whole-archive $<TARGET_FILE:tasklib> ${ARGN}
    COMMAND ${CMAKE_OBJCOPY} --wildcard
      --localize-symbol cbor_* --localize-symbol _cbor_* ${object}
    COMMAND ${CMAKE_COMMAND} -E remove $<TARGET_FILE:tasklib>
    COMMAND ${CMAKE_AR} qc $<TARGET_FILE:tasklib> ${object}
    COMMAND ${CMAKE_RANLIB} $<TARGET_FILE:tasklib>
    COMMAND ${CMAKE_COMMAND} -E remove ${object})
endfunction()
