/*
 * /.reaper: pid 1 of a subhost after its start script. Reaps, and ends when it has no children left, and
 * with it the subhost. Without any child to begin with it forks the dummy service, which keeps the subhost
 * alive until somebody writes to its pipe.
 */
#include "init.h"

#define DUMMY_PIPE "/run/dummy_service"
#define FORK_AGAIN_MS 100

static _Noreturn void dummy_service(void)
{
	char byte;
	signal(SIGTERM, SIG_DFL);
	setsid();
	/* Opened for writing too: the pipe has no end of file as long as nobody wrote to it. */
	int fd = -1;
	if (mkfifo(DUMMY_PIPE, 0600) == 0 || errno == EEXIST)
		fd = open(DUMMY_PIPE, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISFIFO(st.st_mode))
		for (;;) /* a root without a writable /run: only a signal ends it */
			pause();
	while (read(fd, &byte, 1) < 0 && errno == EINTR)
		;
	unlink(DUMMY_PIPE);
	_exit(0);
}

int reap_main(void)
{
	/* pid 1 of a pid namespace has no default actions (pid_namespaces(7)); a stop that sends SIGTERM to all
	 * means the services, whose end is the reaper's. */
	signal(SIGTERM, SIG_IGN);
	signal(SIGCHLD, SIG_DFL);
	if (getpid() != 1)
		return complain("/.reaper is pid 1 of a subhost and nothing else", NULL, 0);
	pid_t pid = waitpid(-1, NULL, WNOHANG);
	while (pid > 0)
		pid = waitpid(-1, NULL, WNOHANG);
	if (pid < 0 && errno == ECHILD) {
		while ((pid = _Fork()) < 0) /* without room for a process the subhost waits for some */
			poll(NULL, 0, FORK_AGAIN_MS);
		if (pid == 0)
			dummy_service();
	}
	while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
		;
	return 0;
}
