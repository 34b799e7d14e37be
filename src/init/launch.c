/*
 * The launcher: one per overlay-boot call. Forks a keeper for each subhost (forking from this small process
 * is what makes fifty of them cheap), hands requests on to them, and tells Node when one has ended.
 * It ends when Node closes its side; keepers that were not acknowledged take that as the end.
 *
 * usage: init launch BLANKS  (the socket to Node is descriptor 3; the blanks leave room for a keeper's name)
 */
#include "wire.h"
#include <sys/signalfd.h>

#define NODE 3

struct keeper {
	pid_t pid;
	int commands; /* our end of its socket */
};

static struct keeper *keepers;
static size_t n_keepers;
static char *title; /* memory of the command line, for a keeper's name in ps(1) */

static void close_others(void)
{
	for (size_t i = 0; i < n_keepers; i++)
		if (keepers[i].commands >= 0)
			close(keepers[i].commands);
}

static int signals; /* signalfd(2) */

/* A keeper that there cannot be is told of as one whose first step failed: the others go on. */
static bool no_keeper(uint16_t index)
{
	struct text number = {0};
	text_num(&number, errno);
	keepers[n_keepers++] = (struct keeper){.pid = -1, .commands = -1};
	return send_frame(NODE, index, EV_FAILED, (const char *[]){"start a keeper", "", text_end(&number), strerror(errno), "", NULL}) &&
	       send_frame(NODE, index, EV_GONE, NULL);
}

static bool start_keeper(uint16_t index)
{
	int pair[2];
	if (index != n_keepers)
		return false;
	struct keeper *grown = resize(keepers, n_keepers * sizeof *keepers, (n_keepers + 1) * sizeof *keepers);
	if (!grown)
		return false;
	keepers = grown;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return no_keeper(index);
	pid_t pid = _Fork();
	if (pid < 0) {
		close(pair[0]), close(pair[1]);
		return no_keeper(index);
	}
	if (pid == 0) {
		close_others(); /* or the others would never see their end of file */
		close(pair[0]), close(signals);
		keep(pair[1], NODE, index, title);
	}
	close(pair[1]);
	keepers[n_keepers++] = (struct keeper){.pid = pid, .commands = pair[0]};
	struct text number = {0};
	text_num(&number, pid);
	text_end(&number);
	return send_frame(NODE, index, EV_OPENED, (const char *[]){number.buf, NULL});
}

static void tell_ended(void)
{
	int status;
	for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
		for (size_t i = 0; i < n_keepers; i++)
			if (keepers[i].pid == pid) {
				close(keepers[i].commands);
				keepers[i] = (struct keeper){.pid = -1, .commands = -1};
				send_frame(NODE, (uint16_t)i, EV_GONE, NULL);
			}
}

int launch_main(int argc, char **argv)
{
	if (argc != 1)
		return complain("usage: init", "launch BLANKS", 0);
	title = argv[0];
	char *payload = NULL;
	size_t room = 0;
	sigset_t mask;
	sigemptyset(&mask);
	sigaddset(&mask, SIGCHLD);
	sigprocmask(SIG_SETMASK, &mask, NULL);
	signal(SIGPIPE, SIG_IGN);
	/* Whatever else the caller had open: a keeper would hold it for as long as its subhost lives. */
	close_from(NODE + 1);
	fcntl(NODE, F_SETFD, FD_CLOEXEC);
	fcntl(NODE, F_SETFL, fcntl(NODE, F_GETFL) & ~O_NONBLOCK);
	signals = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	if (signals < 0)
		return complain("signalfd", NULL, errno);
	/* A ^C or ^\ at the terminal is Node's to act upon. */
	setsid();
	for (;;) {
		struct pollfd fds[] = {{.fd = NODE, .events = POLLIN}, {.fd = signals, .events = POLLIN}};
		if (poll(fds, 2, -1) < 0)
			continue;
		if (fds[1].revents) {
			struct signalfd_siginfo info;
			while (read(signals, &info, sizeof info) > 0)
				;
			tell_ended();
		}
		if (!fds[0].revents)
			continue;
		struct frame head;
		if (!read_frame(NODE, &head, &payload, &room))
			return 0;
		if ((head.type == REQ_OPEN || head.type == REQ_STOP) && !start_keeper(head.index))
			return errno == EPIPE ? 0 : complain("cannot start a keeper", NULL, errno); /* Node is gone */
		int to = head.index < n_keepers ? keepers[head.index].commands : -1;
		if (to >= 0 && write_all(to, &head, sizeof head))
			write_all(to, payload, head.len); /* a keeper that is gone tells so by itself */
	}
}
