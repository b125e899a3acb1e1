/* event_file.h - the names of the event log's files, shared by its writer and its reader. */
#ifndef WEIR_ENGINE_EVENT_FILE_H
#define WEIR_ENGINE_EVENT_FILE_H

#define EVENT_FILE_NAME_BYTES 32

/* age 0 is the file being written, 1 .. EVENT_LOG_FILE_COUNT - 1 the rotated ones, youngest first. */
void event_file_name(unsigned age, char name[EVENT_FILE_NAME_BYTES]);

#endif
