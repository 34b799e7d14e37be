/*
 * Starts overlay-boot or overlay-stop as `init start` does, with another program around its launcher.
 *
 * usage: start-wrapped INIT SCRIPT WORDS WRAPPER... ARGUMENT...
 * WRAPPER has WORDS words; `WRAPPER... INIT launch BLANKS` is the launcher, `node SCRIPT ARGUMENT...` the command.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SOCKET 3
#define BLANKS "                " /* where a keeper writes its subhost's name */

int main(int argc, char **argv)
{
	int pair[2], words = argc > 3 ? atoi(argv[3]) : 0;
	char *wrapper[64] = {0}, mark[64], *none[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL};
	if (argc < 4 + words || words > 60 || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
		return 3;
	memcpy(wrapper, argv + 4, (size_t)words * sizeof *wrapper);
	wrapper[words] = argv[1], wrapper[words + 1] = "launch", wrapper[words + 2] = BLANKS;
	pid_t launcher = fork();
	int mine = pair[launcher == 0];
	close(pair[launcher != 0]);
	if (mine != SOCKET) {
		dup2(mine, SOCKET);
		close(mine);
	}
	if (launcher == 0) {
		if (!freopen("/dev/null", "r+", stdin) || !freopen("/dev/null", "w", stdout))
			_exit(3);
		execvpe(wrapper[0], wrapper, none);
		_exit(3);
	}
	fcntl(SOCKET, F_SETOWN, getpid());
	fcntl(SOCKET, F_SETSIG, SIGURG);
	fcntl(SOCKET, F_SETFL, O_RDWR | O_NONBLOCK | O_ASYNC);
	snprintf(mark, sizeof mark, "%d", getpid());
	setenv("OVERLAY_BOOT_LAUNCHER", mark, 1);
	argv[2 + words] = "node", argv[3 + words] = argv[2];
	execvp("node", argv + 2 + words);
	return 3;
}
