/*
 * Runs a program in a pid namespace that has room for a few processes (or threads) more.
 *
 * usage: with-room NUMBER PROGRAM [ARGUMENT...]
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define FILL_MAX 2000

int main(int argc, char **argv)
{
	static pid_t fill[FILL_MAX];
	int n = 0, status;
	if (argc < 3)
		return 2;
	for (; n < FILL_MAX; n++) {
		fill[n] = fork();
		if (fill[n] == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			for (;;)
				pause();
		}
		if (fill[n] < 0)
			break;
	}
	if (n == FILL_MAX)
		return 3; /* there is no limit that can be reached */
	for (int room = atoi(argv[1]) + 1; room > 0 && n > 0; room--) {
		kill(fill[--n], SIGKILL);
		waitpid(fill[n], NULL, 0);
	}
	pid_t program = fork();
	if (program == 0) {
		execvp(argv[2], argv + 2);
		_exit(127);
	}
	if (program < 0 || waitpid(program, &status, 0) < 0)
		return 4;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
