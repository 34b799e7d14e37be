/*
 * The keeper: one per subhost, in the host's namespaces (pivot_root(2) moves every process of a mount
 * namespace, so a keeper inside would clear up inside). It holds the lock, makes the namespaces, hands the
 * child its operations, notices when the subhost is ready, relays what pid 1 and its services print to the
 * log, and takes the host side back when pid 1 ends. Until ready is acknowledged, the death of overlay-boot
 * is the end of the subhost.
 */
#include "keep.h"
#include <sys/ptrace.h>
#include <sys/signalfd.h>

#define HELD_MAX 8

enum stage { OPENED, WORKING, EXECUTING, READY, LIVING };

static struct keeper {
	int commands, node, signals, pair, lock, held[HELD_MAX];
	struct output output;
	int n_held, execs;
	uint16_t index;
	enum stage stage;
	pid_t pid; /* pid 1 of the subhost; 0: none yet, -1: dead */
	int status; /* of the dead one, as waitpid(2) gives it */
	char *undo;
	size_t undo_len;
	struct text cgroup; /* path; empty for none */
	char *title;        /* the argument that is left for the name */
	char name[16];
} k; /* not initialized here: all of it would be in the program's file */

static void tell(enum event type, const char *const *strings)
{
	if (k.node >= 0)
		send_frame(k.node, k.index, (uint16_t)type, strings);
}

static void tell_failed(const char *what, const char *path, int err, const char *why)
{
	struct text number = {0};
	text_num(&number, err);
	text_end(&number);
	tell(EV_FAILED, (const char *[]){what, path, number.buf, err ? strerror(err) : "", why ? why : "", NULL});
}

void tell_failed_service(const char *service)
{
	tell(EV_REPORT, (const char *[]){service, NULL});
}

/* ---- the end ---- */

static const char *end_kind(int status)
{
	return WIFEXITED(status) ? "exit" : "signal";
}

static void log_end(int status)
{
	if (k.output.failure_told)
		return;
	struct text note = {0};
	text_str(&note, k.name);
	text_str(&note, k.stage < READY ? ": ended before it was ready: pid 1 " : ": ended: pid 1 ");
	text_str(&note, WIFEXITED(status) ? "exited with status " : "was ended by signal ");
	text_num(&note, WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
	log_note(&k.output, &note);
}

/* Takes everything back and ends the keeper. `status` is pid 1's, as waitpid(2) gives it. */
static _Noreturn void finish(int status, bool had_child)
{
	struct text number = {0}, left = {0};
	drain(&k.output);
	for (int i = 0; i < k.n_held; i++)
		close(k.held[i]);
	/* The record of a subhost that ended badly by itself stays: overlay-status shows it as failed. */
	bool bad = k.stage >= LIVING && had_child && status != 0;
	if (k.undo)
		run_undo(k.undo, k.undo_len, bad, &left);
	text_end(&left);
	if (left.len) {
		struct text note = {0};
		text_str(&note, "left behind: ");
		text_str(&note, left.buf);
		log_note(&k.output, &note);
	}
	if (had_child)
		log_end(status);
	text_num(&number, WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
	text_end(&number);
	tell(EV_ENDED, (const char *[]){had_child ? end_kind(status) : "none", number.buf, left.buf, NULL});
	_exit(0);
}

static _Noreturn void end_child(void)
{
	int status = 0;
	if (k.pid <= 0)
		finish(k.status, k.pid < 0);
	kill(k.pid, SIGKILL);
	while (waitpid(k.pid, &status, 0) > 0 || errno == EINTR)
		if (WIFEXITED(status) || WIFSIGNALED(status))
			break;
	finish(status, true);
}

/* ---- requests ---- */

static void set_undo(const char *payload, size_t len)
{
	char *grown = resize(k.undo, k.undo ? k.undo_len + 1 : 0, len + 1);
	if (!grown)
		return;
	k.undo = memcpy(grown, payload, len + 1);
	k.undo_len = len;
}

/* Until overlay-boot says what there is to take back, it is the directory that the lock is on. */
static void undo_lock(const char *dir)
{
	struct text op = {0};
	text_str(&op, "lock ");
	text_str(&op, dir);
	text_end(&op);
	op.buf[sizeof "lock" - 1] = '\0';
	set_undo(op.buf, op.len + 1);
}

static void take_lock(const char *dir, const char *name, const char *cgroup_mount)
{
	strncpy(k.name, name, sizeof k.name - 1);
	if (strlen(k.title) >= strlen(name))
		strcpy(k.title, name); /* for ps(1) */
	k.lock = lock_directory(dir);
	if (k.lock >= 0) {
		undo_lock(dir);
		find_cgroup(cgroup_mount, name, &k.cgroup);
		tell(EV_LOCKED, (const char *[]){text_end(&k.cgroup), NULL});
		return;
	}
	if (errno == EWOULDBLOCK) {
		tell(EV_BUSY, NULL);
	} else {
		tell_failed("make and lock the state directory", dir, errno, NULL);
		rmdir(dir); /* unless there is a record in it */
	}
	_exit(0);
}

static void tell_cloned(void)
{
	struct text numbers[4] = {0};
	struct text ns = {0};
	struct stat st = {0};
	text_str(&ns, "/proc/");
	text_num(&ns, k.pid);
	text_str(&ns, "/ns/net");
	text_end(&ns);
	stat(ns.buf, &st);
	text_num(&numbers[0], k.pid);
	text_num(&numbers[1], start_time_ticks(k.pid));
	text_num(&numbers[2], start_time_ticks(getpid()));
	text_num(&numbers[3], (long long)st.st_ino);
	for (int i = 0; i < 4; i++)
		text_end(&numbers[i]);
	tell(EV_CLONED, (const char *[]){numbers[0].buf, numbers[1].buf, numbers[2].buf, numbers[3].buf, NULL});
}

static void make_namespaces(const char *netns, bool owned)
{
	int pair[2], out[2], report[2], cgroup = -1, user = -1;
	if (k.cgroup.len && (cgroup = make_cgroup(k.cgroup.buf)) < 0) {
		tell_failed("make the control group", k.cgroup.buf, errno, NULL);
		return;
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0 || pipe2(out, O_CLOEXEC) < 0 ||
	    pipe2(report, O_CLOEXEC) < 0) {
		tell_failed("make pipes", "", errno, NULL);
		return;
	}
	int mounts = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC); /* shows our mounts, whoever reads it */
	pid_t pid = clone_namespaces(cgroup, owned ? &user : NULL);
	if (pid == 0)
		child((struct child_ends){.pair = pair[1], .log = out[1], .report = report[1], .mounts = mounts, .user = user});
	int err = errno;
	close(pair[1]), close(out[1]), close(report[1]), close(mounts), close(user);
	if (cgroup >= 0)
		close(cgroup);
	if (pid < 0) {
		tell_failed("make namespaces", "", err,
			    err == ENOSPC ? "user.max_*_namespaces of sysctl is reached"
			    : owned && err == EINVAL ? "has the kernel user namespaces? CAPS=all needs none"
						     : NULL);
		return;
	}
	k.pid = pid;
	k.pair = pair[0], k.output.out = out[0], k.output.report = report[0];
	unblock(k.output.out), unblock(k.output.report);
	k.stage = WORKING;
	if (name_netns(netns, pid))
		tell_cloned();
	else
		tell_failed("name the network namespace", netns, errno, NULL);
}

static void acknowledge(bool stay)
{
	if (k.stage != READY)
		end_child();
	k.stage = LIVING;
	close(k.commands), close(k.pair);
	k.commands = k.pair = -1;
	if (k.pid < 0)
		finish(k.status, true);
	if (!stay) {
		close(k.node);
		k.node = -1;
	}
}

static void clear(const char *ops, size_t len)
{
	struct text left = {0};
	run_undo(ops, len, false, &left);
	text_end(&left);
	if (left.len)
		tell_failed("clear what is left of an earlier instance", "", 0, left.buf);
	else
		tell(EV_DONE, NULL);
}

static void obey(void)
{
	static char *payload;
	static size_t room;
	struct frame head;
	if (!read_frame(k.commands, &head, &payload, &room))
		end_child(); /* overlay-boot, or the launcher, is gone */
	size_t at = 0;
	const char *s[3] = {"", "", ""};
	for (int i = 0; i < 3 && head.type != REQ_CHILD; i++) {
		const char *next = next_string(payload, head.len, &at);
		if (next)
			s[i] = next;
	}
	switch (head.type) {
	case REQ_OPEN:
		take_lock(s[0], s[1], s[2]);
		break;
	case REQ_CLEAR:
		clear(payload, head.len);
		break;
	case REQ_CLONE:
		make_namespaces(s[0], s[1][0] != '\0');
		break;
	case REQ_UNDO:
		set_undo(payload, head.len);
		break;
	case REQ_LOG:
		k.output.log = open_log(s[0]);
		if (k.output.log < 0)
			tell_failed("open the log", s[0], errno, NULL);
		else
			tell(EV_DONE, NULL);
		break;
	case REQ_CHILD:
		if (!write_all(k.pair, &head, sizeof head) || !write_all(k.pair, payload, head.len))
			break; /* its death is reported by SIGCHLD */
		break;
	case REQ_ACK:
		acknowledge(s[0][0] != '\0');
		payload = resize(payload, room, 0);
		room = 0;
		break;
	case REQ_STOP:
		tell_stopped(k.node, k.index, payload, head.len);
	default:
		if (s[0][0] && !k.output.failure_told) {
			struct text note = {0};
			text_str(&note, k.name);
			text_str(&note, ": boot failed: ");
			text_str(&note, s[0]);
			log_note(&k.output, &note);
			k.output.failure_told = true;
		}
		end_child();
	}
}

/* ---- the child ---- */

static void watch_exec(void)
{
	/* Ready is the second exec: the shell's, then what the start script ends with. PTRACE_EVENT_EXEC shows
	 * it for a foreign init system too, and no descriptor that a daemon may inherit is needed. */
	if (ptrace(PTRACE_SEIZE, k.pid, NULL, (void *)(uintptr_t)PTRACE_O_TRACEEXEC) < 0) {
		tell_failed("watch pid 1", "", errno, errno == EPERM ? "is kernel.yama.ptrace_scope 3?" : NULL);
		return;
	}
	k.stage = EXECUTING;
	write_all(k.pair, "", 1);
}

static void hear(void)
{
	char buf[4096];
	int fds[HELD_MAX], n = HELD_MAX;
	struct frame head;
	ssize_t got = recv_fds(k.pair, &head, sizeof head, fds, &n);
	if (got != (ssize_t)sizeof head || head.len > sizeof buf - 1 ||
	    (head.len && recv(k.pair, buf, head.len, MSG_WAITALL) != (ssize_t)head.len)) {
		close(k.pair); /* closed by the exec; or the child is dying, and SIGCHLD comes */
		k.pair = -1;
		return;
	}
	buf[head.len] = '\0';
	size_t at = 0;
	const char *s[5] = {"", "", "", "", ""};
	for (int i = 0; i < 5; i++) {
		const char *next = next_string(buf, head.len, &at);
		if (next)
			s[i] = next;
	}
	switch (head.type) {
	case WORD_DONE:
		tell(EV_DONE, NULL);
		break;
	case WORD_FAILED:
		log_failure(&k.output, s);
		tell(EV_FAILED, (const char *[]){s[0], s[1], s[2], s[3], s[4], NULL});
		k.stage = WORKING; /* an exec that failed is no exec */
		break;
	case WORD_HOLD:
		for (int i = 0; i < n; i++) {
			if (strcmp(s[0], "console") == 0 && k.output.console < 0)
				unblock(k.output.console = fds[i]);
			else if (k.n_held < HELD_MAX)
				k.held[k.n_held++] = fds[i];
		}
		break;
	case WORD_EXEC:
		watch_exec();
		break;
	}
}

/* A stop of the traced pid 1: its exec, or a signal on its way to it. */
static void traced(int status)
{
	int event = status >> 16, sig = WSTOPSIG(status);
	if (event == PTRACE_EVENT_EXEC && ++k.execs == 2) {
		ptrace(PTRACE_DETACH, k.pid, NULL, NULL);
		k.stage = READY;
		drain_report(&k.output);
		/* What comes now is of no service of the start script's. */
		close(k.output.report);
		k.output.report = -1;
		tell(EV_READY, NULL);
		return;
	}
	/* A stop signal from inside would have been ignored without us (pid 1 of a namespace): not handed on. */
	bool hand_on = event == 0 && sig != SIGSTOP && sig != SIGTSTP && sig != SIGTTIN && sig != SIGTTOU && sig != SIGTRAP;
	ptrace(PTRACE_CONT, k.pid, NULL, (void *)(uintptr_t)(hand_on ? sig : 0));
}

static void wait_child(void)
{
	struct signalfd_siginfo info;
	int status;
	while (read(k.signals, &info, sizeof info) > 0)
		;
	while (k.pid > 0 && waitpid(k.pid, &status, WNOHANG | __WALL) > 0) {
		if (WIFSTOPPED(status)) {
			traced(status);
			continue;
		}
		while (readable(k.pair))
			hear(); /* its last words */
		k.pid = -1;
		k.status = status;
		/* Ready it was, and overlay-boot is about to write that down: what is taken back now would come back. */
		if (k.stage != READY)
			finish(status, true);
	}
}

static void become_daemon(void)
{
	setsid();
	if (chdir("/") < 0)
		_exit(1);
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	dup2(null, 0), dup2(null, 1), dup2(null, 2);
	if (null > 2)
		close(null);
	sigset_t mask;
	sigemptyset(&mask);
	sigaddset(&mask, SIGCHLD);
	sigprocmask(SIG_SETMASK, &mask, NULL);
	/* The host's shutdown sends SIGTERM to all: the subhost's own processes get it too, and end it. */
	signal(SIGTERM, SIG_IGN), signal(SIGINT, SIG_IGN), signal(SIGHUP, SIG_IGN), signal(SIGPIPE, SIG_IGN);
	k.signals = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	if (k.signals < 0)
		_exit(1); /* or the end of the subhost would not be seen */
	umask(022);
	prctl(PR_SET_NAME, "overlay-keep", 0, 0, 0);
}

_Noreturn void keep(int commands, int node, uint16_t index, char *title)
{
	k.commands = commands, k.node = node, k.index = index, k.title = title;
	k.pair = k.lock = k.output.log = k.output.out = k.output.report = k.output.console = -1;
	k.output.at_line_start = true;
	become_daemon();
	for (;;) {
		struct pollfd fds[] = {
			{.fd = k.commands, .events = POLLIN},
			{.fd = k.signals, .events = POLLIN},
			{.fd = k.pair, .events = POLLIN},
			{.fd = k.output.out, .events = POLLIN},
			{.fd = k.output.report, .events = POLLIN},
			{.fd = k.output.console, .events = POLLIN},
		};
		if (poll(fds, sizeof fds / sizeof *fds, -1) < 0)
			continue;
		if (fds[2].revents && k.pair >= 0)
			hear();
		if (fds[4].revents && k.output.report >= 0)
			relay_report(&k.output);
		if (fds[3].revents && k.output.out >= 0)
			relay_output(&k.output, &k.output.out);
		if (fds[5].revents && k.output.console >= 0)
			relay_output(&k.output, &k.output.console);
		if (fds[1].revents)
			wait_child();
		if (fds[0].revents && k.commands >= 0)
			obey();
	}
}
