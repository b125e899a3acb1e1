# Prints the value at KEYS of the JSON document in FILE; fails where it is no JSON, or has no such value.
file(READ "${FILE}" text)
string(JSON value GET "${text}" ${KEYS})
execute_process(COMMAND ${CMAKE_COMMAND} -E echo "${value}")
