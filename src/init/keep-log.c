/*
 * The keeper's log, and what goes into it: what pid 1 and its services print, and what the keeper has to say.
 */
#include "keep.h"

#define REPORTS_MAX 1000 /* whoever opens the pipe anew inside can write as many as it likes */
#define READS_MAX 4096   /* more than what a pipe or a terminal can hold; a writer that never ends is cut there */

/* ---- the log ---- */

/* Failures to write are dropped: a full disk must not end the subhost. */
static void log_bytes(struct output *o, const char *bytes, size_t len)
{
	if (o->log < 0 || !len)
		return;
	write_all(o->log, bytes, len);
	o->at_line_start = bytes[len - 1] == '\n';
}

void log_note(struct output *o, struct text *note)
{
	struct text line = {0};
	if (!o->at_line_start)
		text_str(&line, "\n");
	struct timespec now = {0};
	sys_clock(CLOCK_REALTIME, &now);
	text_time(&line, now.tv_sec);
	text_str(&line, " overlay-boot: ");
	text_str(&line, text_end(note));
	text_str(&line, "\n");
	log_bytes(o, line.buf, line.len);
}

/* ---- what the subhost prints ---- */

/*
 * Root inside can open a pipe's end anew and read from it, or flush the console: what poll(2) has announced may be
 * gone when it is read, and a keeper that waits for more would see neither the end nor overlay-boot's death.
 */
void unblock(int fd)
{
	fcntl(fd, F_SETFL, O_NONBLOCK);
}

void relay_output(struct output *o, int *fd)
{
	char buf[4096];
	ssize_t n = read(*fd, buf, sizeof buf);
	if (n > 0) {
		log_bytes(o, buf, (size_t)n);
	} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		close(*fd);
		*fd = -1;
	}
}

static void report_line(struct output *o, char *line)
{
	struct text note = {0};
	text_str(&note, "service ");
	text_str(&note, line);
	text_str(&note, " failed to start");
	log_note(o, &note);
	tell_failed_service(line);
}

void relay_report(struct output *o)
{
	char buf[256];
	ssize_t n = read(o->report, buf, sizeof buf);
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
		close(o->report);
		o->report = -1;
	}
	for (ssize_t i = 0; i < n; i++) {
		if (buf[i] != '\n') {
			if (o->partial_len < sizeof o->partial - 1)
				o->partial[o->partial_len++] = buf[i];
			continue;
		}
		o->partial[o->partial_len] = '\0';
		o->partial_len = 0;
		if (o->reports++ < REPORTS_MAX)
			report_line(o, o->partial);
	}
}

bool readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	return fd >= 0 && poll(&p, 1, 0) > 0 && p.revents & POLLIN;
}

void drain_report(struct output *o)
{
	for (int reads = 0; reads < READS_MAX && readable(o->report); reads++)
		relay_report(o);
}

static void drain_output(struct output *o, int *fd)
{
	for (int reads = 0; reads < READS_MAX && readable(*fd); reads++)
		relay_output(o, fd);
}

void drain(struct output *o)
{
	drain_report(o);
	drain_output(o, &o->out);
	drain_output(o, &o->console);
}

void log_failure(struct output *o, const char *const *s)
{
	struct text note = {0};
	text_str(&note, "cannot");
	for (int i = 0; i < 5; i++)
		if (i != 2 && s[i][0]) {
			text_str(&note, i < 2 ? " " : ": ");
			text_str(&note, s[i]);
		}
	log_note(o, &note);
	o->failure_told = true;
}
