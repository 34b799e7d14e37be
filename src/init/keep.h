/* What the keeper's files share: keep.c keeps the subhost, keep-log.c its log. */
#ifndef OVERLAY_BOOT_KEEP_H
#define OVERLAY_BOOT_KEEP_H

#include "wire.h"

/* What the subhost prints, and where it goes. A descriptor is -1 where there is none, or none any more. */
struct output {
	int log;
	int out, report, console; /* read ends of its pipes, and the console's master */
	bool at_line_start;       /* the log is */
	bool failure_told;        /* in the log: the end needs no reason of its own */
	char partial[128];        /* a report line under way */
	size_t partial_len;
	int reports;
};

/* ---- keep.c ---- */
void tell_failed_service(const char *service);

/* ---- keep-log.c ---- */
void unblock(int fd);
bool readable(int fd);
/* A line of the keeper's own, with the time. */
void log_note(struct output *o, struct text *note);
/* What the child could not do: WHAT PATH ERRNO STRERROR WHY. It ends with that, and more need not be said. */
void log_failure(struct output *o, const char *const *s);
/* Copies what is there; closes the descriptor at its end. */
void relay_output(struct output *o, int *fd);
/* A failed service a line, written by the start script. */
void relay_report(struct output *o);
void drain_report(struct output *o);
/* All of it that is there, before the end. */
void drain(struct output *o);

#endif
