/*
 * Starts overlay-boot: Node on a script, with the launcher at work beside it already. From Node it would
 * start 9 ms later, since that has to load what starts processes first.
 *
 * usage: init start SCRIPT [ARGUMENT...]
 * The launcher's socket is descriptor 3 of Node, which SIGURG tells of what comes from there (see launcher.ts);
 * OVERLAY_BOOT_LAUNCHER is the pid of the Node it is meant for.
 */
#include "wire.h"
#include <sys/resource.h>

#define SOCKET 3
#define FILES_LEAST 32
/*
 * For the hashes of its strings V8 makes up three primes, which takes a fifth of Node's start (HashSeed::InitializeRoots,
 * rapidhash_make_secret): with this seed the first three numbers tried are such. That its hashes can be foreseen then
 * would matter where strangers choose keys; what is started so reads root's own files.
 */
#define NODE_OPTION "--random-seed=10331"

static _Noreturn void become_launcher(int socket)
{
	int null = open("/dev/null", O_RDWR);
	dup2(null, STDIN_FILENO), dup2(null, STDOUT_FILENO);
	dup2(socket, SOCKET);
	close_from(SOCKET + 1);
	/* Anew, for an empty environment: the keepers are copies of it. */
	char *argv[] = {"overlay-boot-keeper", "launch", LAUNCH_TITLE, NULL}, *none[] = {NULL};
	execve("/proc/self/exe", argv, none);
	_exit(complain("run", "/proc/self/exe", errno));
}

int start_main(int argc, char **argv)
{
	int pair[2], n = 0;
	struct rlimit files;
	struct text mark = {0};
	if (argc < 1)
		return complain("usage: init", "start SCRIPT [ARGUMENT...]", 0);
	/* Node, which takes as many as it may, crashes with fewer than 19; ours want some more. */
	prlimit(0, RLIMIT_NOFILE, NULL, &files);
	if (files.rlim_max < FILES_LEAST)
		return complain("overlay-boot: needs 32 open files: ulimit -n", NULL, 0);
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
		return complain("socketpair", NULL, errno);
	pid_t launcher = _Fork();
	if (launcher == 0)
		become_launcher(pair[1]);
	if (launcher < 0)
		return complain("fork", NULL, errno);
	close(pair[1]);
	if (pair[0] != SOCKET) {
		dup2(pair[0], SOCKET);
		close(pair[0]);
	}
	/* A signal that is ignored until Node listens to it; SIGIO, the usual one, would end it. */
	fcntl(SOCKET, F_SETOWN, getpid());
	fcntl(SOCKET, F_SETSIG, SIGURG);
	fcntl(SOCKET, F_SETFL, O_RDWR | O_NONBLOCK | O_ASYNC);
	while (environ[n])
		n++;
	char *env[n + 2];
	text_str(&mark, "OVERLAY_BOOT_LAUNCHER=");
	text_num(&mark, getpid());
	env[0] = (char *)(uintptr_t)text_end(&mark); /* the first of a name is the one that counts */
	memcpy(env + 1, environ, (size_t)(n + 1) * sizeof *env);
	argv[-2] = "node", argv[-1] = NODE_OPTION; /* in the place of our name and the mode's */
	execvpe("node", argv - 2, env);
	return complain("run", "node", errno);
}
