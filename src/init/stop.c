/*
 * Ends a subhost: SIGTERM to every process of it, a grace period, SIGKILL to its pid 1 (which takes all
 * others along, pid_namespaces(7)); then waits for the keeper to let go of the lock and takes back what
 * is still there.
 *
 * usage: init stop < REQUEST; the launcher does it for REQ_STOP, see wire.h for what is asked for.
 * PID 0: nothing runs, only clear. KEEPER 0: it is not known. Prints what it came to: "ended", "killed" or
 * "cleared". Exit status: 0 all is gone, 1 something is left (stderr says what).
 */
#include "wire.h"
#include <linux/capability.h>
#include <sys/file.h>
#include <sys/time.h>

#define KILL_MS 10000
#define LOCK_MS 30000
#define LOOK_MS 100 /* so often it is looked whether the wait for the lock still makes sense */

struct process {
	pid_t pid;
	long long start_time;
};

static void on_alarm(int sig)
{
	(void)sig;
}

/*
 * kill(-1) from inside the pid namespace reaches all of it but its pid 1; no process can be missed. Not waited for
 * here: root inside may stop the one that signals (SIGSTOP), and the end of pid 1 ends that too. Returns our child.
 */
static pid_t terminate_all(int pidfd)
{
	pid_t pid = _Fork();
	if (pid == 0) {
		pid_t inner = -1;
		/* The one that signals is visible inside: nothing of the host's is open in it, nor is its root. */
		prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
		dup2(pidfd, 0);
		close_from(1);
		if (setns(0, CLONE_NEWPID | CLONE_NEWNS) == 0 && keep_capabilities(1 << CAP_KILL) == 0 &&
		    (inner = _Fork()) == 0) {
			close(0);
			kill(-1, SIGTERM);
			_exit(0);
		}
		if (inner > 0)
			waitpid(inner, NULL, 0);
		_exit(0);
	}
	sys_pidfd_send_signal(pidfd, SIGTERM); /* an init system of the subhost's own may listen to it */
	return pid;
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
static const char *end_pid1(struct process init, int grace_ms)
{
	int pidfd = sys_pidfd_open(init.pid);
	/* Checked with the descriptor open: from here on the pid cannot become another process's. */
	if (pidfd < 0 || start_time_ticks(init.pid) != init.start_time)
		return "ended";
	pid_t sender = terminate_all(pidfd);
	const char *word = "ended";
	if (!ended_within(pidfd, grace_ms)) {
		sys_pidfd_send_signal(pidfd, SIGKILL);
		word = ended_within(pidfd, KILL_MS) ? "killed" : NULL;
	}
	if (word && sender > 0)
		waitpid(sender, NULL, 0); /* what it waits for has ended with the namespace */
	return word;
}

/* ---- the lock ---- */

enum lock { LOCK_OURS, LOCK_NOT_NEEDED, LOCK_REFUSED };

static enum lock refuse(struct process keeper, const char *dir, bool stopped)
{
	struct text t = {0};
	text_str(&t, "its keeper, process ");
	text_num(&t, keeper.pid);
	text_str(&t, stopped ? ", is stopped (SIGSTOP): kill -CONT it, then stop again: it holds" : ", does not let go of");
	complain(text_end(&t), dir, 0);
	return LOCK_REFUSED;
}

/*
 * Waits for the lock on the directory that `fd` was opened on before anything was ended. Whoever else has it
 * while the keeper is gone is the next boot or stop, and that clears what is left before anything else.
 */
static enum lock take_lock(int fd, const char *dir, struct process keeper)
{
	struct sigaction action = {.sa_handler = on_alarm}; /* without SA_RESTART: flock ends with EINTR */
	struct itimerval again = {.it_interval.tv_usec = LOOK_MS * 1000, .it_value.tv_usec = LOOK_MS * 1000};
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &again, NULL);
	int stopped = 0;
	for (int waited = 0; flock(fd, LOCK_EX) < 0; waited += LOOK_MS) {
		if (errno != EINTR) {
			complain("lock", dir, errno);
			return LOCK_REFUSED;
		}
		char state = 0;
		if (keeper.pid ? process_start(keeper.pid, &state) != keeper.start_time : waited >= 10 * LOOK_MS)
			return LOCK_NOT_NEEDED;
		stopped = (state | 0x20) == 't' ? stopped + 1 : 0;
		if (stopped >= 10 || waited >= LOCK_MS)
			return refuse(keeper, dir, stopped > 0);
	}
	setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL);
	/* The keeper takes everything back before it removes its directory; another one may have the name now. */
	struct stat mine, there;
	bool same = fstat(fd, &mine) == 0 && stat(dir, &there) == 0 && mine.st_ino == there.st_ino && mine.st_dev == there.st_dev;
	return same ? LOCK_OURS : LOCK_NOT_NEEDED;
}

static struct process process_of(const char **strings)
{
	return (struct process){.pid = (pid_t)parse_num(strings[0]), .start_time = parse_num(strings[1])};
}

static int stop_subhost(const char *request, size_t len)
{
	const char *s[6];
	size_t at = 0;
	for (int i = 0; i < 6; i++)
		if (!(s[i] = next_string(request, len, &at)))
			return complain("usage: init", "stop < REQUEST", 0);
	struct process init = process_of(s + 1), keeper = process_of(s + 4);
	int dir = open(s[0], O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0 && errno != ENOENT)
		return complain("open", s[0], errno);
	const char *word = init.pid > 0 ? end_pid1(init, (int)parse_num(s[3])) : "cleared";
	if (!word)
		return complain("pid 1 does not end, not even by SIGKILL: process", s[1], 0);
	enum lock lock = dir < 0 ? LOCK_NOT_NEEDED : take_lock(dir, s[0], keeper);
	struct text left = {0};
	if (lock == LOCK_REFUSED)
		return 1;
	if (lock == LOCK_OURS)
		run_undo(request + at, len - at, false, &left);
	close(dir); /* or whoever hears of the end would find the lock held still */
	text_end(&left);
	if (left.len)
		return complain("left behind:", left.buf, 0);
	write_all(STDOUT_FILENO, word, strlen(word));
	return 0;
}

_Noreturn void tell_stopped(int node, uint16_t index, const char *request, size_t len)
{
	char said[PATH_BYTES] = "";
	int out[2] = {-1, -1};
	if (pipe(out) == 0) /* holds more than is ever said */
		dup2(out[1], STDOUT_FILENO), dup2(out[1], STDERR_FILENO);
	const char *status = stop_subhost(request, len) ? "1" : "0";
	if (read(out[0], said, sizeof said - 1) < 0)
		said[0] = '\0';
	send_frame(node, index, EV_STOPPED, (const char *[]){status, said, NULL});
	_exit(0);
}

int stop_main(void)
{
	static char request[FRAME_BYTES_MAX];
	size_t len = 0;
	ssize_t n;
	while (len < sizeof request - 1 && (n = read(STDIN_FILENO, request + len, sizeof request - 1 - len)) > 0)
		len += (size_t)n;
	if (len == sizeof request - 1)
		return complain("more to take back than there is room for", NULL, 0);
	return stop_subhost(request, len);
}
