/*
 * Ends a subhost: SIGTERM to every process of it, a grace period, SIGKILL to its pid 1 (which takes all
 * others along, pid_namespaces(7)); then waits for the keeper to let go of the lock and takes back what
 * is still there.
 *
 * usage: init stop STATE_DIR PID START_TIME GRACE_MS < UNDO_OPERATIONS
 * PID 0: nothing runs, only clear. Prints what it came to: "ended", "killed" or "cleared".
 * Exit status: 0 all is gone, 1 something is left (stderr says what).
 */
#include "wire.h"
#include <sys/file.h>

#define KILL_MS 10000
#define LOCK_MS 30000

static void on_alarm(int sig)
{
	(void)sig;
}

/* kill(-1) from inside the pid namespace reaches all of it but its pid 1; no process can be missed. */
static void terminate_all(int pidfd)
{
	pid_t pid = fork();
	if (pid == 0) {
		pid_t inner = -1;
		/* The one that signals is visible inside: nothing of the host's is open in it. */
		prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
		dup2(pidfd, 0);
		close_from(1);
		if (setns(0, CLONE_NEWPID) == 0 && (inner = fork()) == 0) {
			close(0);
			kill(-1, SIGTERM);
			_exit(0);
		}
		if (inner > 0)
			waitpid(inner, NULL, 0);
		_exit(0);
	}
	if (pid > 0)
		waitpid(pid, NULL, 0);
	sys_pidfd_send_signal(pidfd, SIGTERM); /* an init system of the subhost's own may listen to it */
}

static bool ended_within(int pidfd, int ms)
{
	struct pollfd wait = {.fd = pidfd, .events = POLLIN};
	int n;
	while ((n = poll(&wait, 1, ms)) < 0 && errno == EINTR)
		;
	return n > 0;
}

/* Returns the word for what it came to, or NULL when pid 1 does not end. */
static const char *end_pid1(pid_t pid, long long start_time, int grace_ms)
{
	int pidfd = sys_pidfd_open(pid);
	/* Checked with the descriptor open: from here on the pid cannot become another process's. */
	if (pidfd < 0 || start_time_ticks(pid) != start_time)
		return "ended";
	terminate_all(pidfd);
	if (ended_within(pidfd, grace_ms))
		return "ended";
	sys_pidfd_send_signal(pidfd, SIGKILL);
	return ended_within(pidfd, KILL_MS) ? "killed" : NULL;
}

static int lock_state(const char *dir)
{
	struct sigaction action = {.sa_handler = on_alarm}; /* without SA_RESTART: flock ends with EINTR */
	sigaction(SIGALRM, &action, NULL);
	alarm(LOCK_MS / 1000);
	for (;;) {
		struct stat mine, there;
		int fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0)
			return -1;
		if (flock(fd, LOCK_EX) < 0)
			return -1;
		if (fstat(fd, &mine) == 0 && stat(dir, &there) == 0 && mine.st_ino == there.st_ino && mine.st_dev == there.st_dev)
			return fd;
		close(fd);
	}
}

int stop_main(int argc, char **argv)
{
	static char ops[1 << 16];
	size_t len = 0;
	ssize_t n;
	if (argc != 4)
		return complain("usage: init stop STATE_DIR PID START_TIME GRACE_MS", NULL, 0);
	while (len < sizeof ops - 1 && (n = read(STDIN_FILENO, ops + len, sizeof ops - 1 - len)) > 0)
		len += (size_t)n;
	pid_t pid = (pid_t)parse_num(argv[1]);
	const char *word = pid > 0 ? end_pid1(pid, parse_num(argv[2]), (int)parse_num(argv[3])) : "cleared";
	if (!word)
		return complain("pid 1 does not end, not even by SIGKILL: process", argv[1], 0);
	if (lock_state(argv[0]) >= 0) {
		struct text left = {0};
		run_undo(ops, len, false, &left);
		text_end(&left);
		if (left.len)
			return complain("left behind:", left.buf, 0);
	} else if (errno == EINTR) {
		return complain("its keeper does not let go of", argv[0], 0);
	} else if (errno != ENOENT) {
		return complain("lock", argv[0], errno);
	}
	write_all(STDOUT_FILENO, word, strlen(word));
	return 0;
}
