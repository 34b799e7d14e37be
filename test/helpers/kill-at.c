/*
 * Runs a program and sends SIGKILL as one process of it enters its N-th system call, so that a test can kill at
 * every moment of a life, one after the other.
 *
 * usage: kill-at GENERATION N COUNT_FILE VICTIM PROGRAM ARGUMENTS...
 * The calls of GENERATION are counted: 0 is the program itself (its first thread), 1 its first child, 2 the
 * first child of that (who makes a user namespace is none). N 0 kills nobody. COUNT_FILE always holds the number of calls entered so far. VICTIM is
 * "self", "child" (the first one), or a pid. A process of generation 2 is let go of at its capset(2): from
 * there on its parent wants to trace it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/ptrace.h>

#define OPTIONS (PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE)

static int counted, count_file;
static long kill_at, calls;
static const char *victim;
static pid_t line[4];   /* by generation; the one after the counted one is known, not traced */
static pid_t early[64]; /* > 0: stopped before its parent told of it; < 0: told of, to be let go when it stops */
static int n_early;

static int generation_of(pid_t pid)
{
	for (int i = 0; i <= counted; i++)
		if (line[i] == pid)
			return i;
	return -1;
}

static void resume(pid_t pid, int sig)
{
	int request = generation_of(pid) == counted ? PTRACE_SYSCALL : PTRACE_CONT;
	ptrace(request, pid, NULL, (void *)(long)sig);
}

/* Forgets an early one; was it there? */
static int take_early(pid_t pid)
{
	for (int i = 0; i < n_early; i++)
		if (early[i] == pid) {
			early[i] = early[--n_early];
			return 1;
		}
	return 0;
}

/* Does it only make a user namespace for its parent? */
static int makes_namespaces(pid_t pid)
{
	char path[64];
	struct stat its, ours;
	snprintf(path, sizeof path, "/proc/%d/ns/user", (int)pid);
	return stat(path, &its) == 0 && stat("/proc/self/ns/user", &ours) == 0 && its.st_ino != ours.st_ino;
}

static void born(pid_t parent)
{
	unsigned long message = 0;
	ptrace(PTRACE_GETEVENTMSG, parent, NULL, &message);
	pid_t pid = (pid_t)message;
	int generation = generation_of(parent) + 1;
	int first = line[generation] == 0 && !makes_namespaces(pid);
	if (first)
		line[generation] = pid;
	int stopped = take_early(pid);
	if (first && generation <= counted) {
		if (stopped)
			resume(pid, 0);
	} else if (stopped) {
		ptrace(PTRACE_DETACH, pid, NULL, NULL);
	} else {
		early[n_early++] = -pid;
	}
}

static void stopped_unknown(pid_t pid)
{
	if (take_early(-pid))
		ptrace(PTRACE_DETACH, pid, NULL, NULL);
	else
		early[n_early++] = pid;
}

static void entered_call(pid_t pid)
{
	struct ptrace_syscall_info info = {0};
	char number[16];
	ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, &info);
	if (info.op != PTRACE_SYSCALL_INFO_ENTRY) {
		resume(pid, 0);
		return;
	}
	calls++;
	int len = snprintf(number, sizeof number, "%8ld\n", calls);
	if (pwrite(count_file, number, (size_t)len, 0) < 0)
		exit(3);
	if (calls == kill_at) {
		pid_t target = strcmp(victim, "self") == 0 ? pid : strcmp(victim, "child") == 0 ? line[counted + 1] : atoi(victim);
		if (target > 0)
			kill(target, SIGKILL);
		if (target == pid)
			exit(0);
	}
	if (counted == 2 && info.entry.nr == SYS_capset)
		ptrace(PTRACE_DETACH, pid, NULL, NULL);
	else
		resume(pid, 0);
}

static void stopped(pid_t pid, int status)
{
	int event = status >> 16, sig = WSTOPSIG(status);
	if (generation_of(pid) < 0)
		stopped_unknown(pid);
	else if (event == PTRACE_EVENT_FORK || event == PTRACE_EVENT_VFORK || event == PTRACE_EVENT_CLONE)
		born(pid), resume(pid, 0);
	else if (event == PTRACE_EVENT_STOP && sig != SIGTRAP)
		ptrace(PTRACE_LISTEN, pid, NULL, NULL);
	else if (sig == (SIGTRAP | 0x80))
		entered_call(pid);
	else
		resume(pid, event ? 0 : sig);
}

int main(int argc, char **argv)
{
	int go[2], status, result = 0;
	if (argc < 6 || pipe2(go, O_CLOEXEC) < 0)
		return 3;
	counted = atoi(argv[1]), kill_at = atol(argv[2]), victim = argv[4];
	count_file = open(argv[3], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	pid_t program = fork();
	if (program == 0) {
		char byte;
		close(go[1]);
		if (read(go[0], &byte, 1) == 1)
			execvp(argv[5], argv + 5);
		_exit(3);
	}
	line[0] = program;
	if (ptrace(PTRACE_SEIZE, program, NULL, (void *)OPTIONS) < 0 || ptrace(PTRACE_INTERRUPT, program, NULL, NULL) < 0 ||
	    write(go[1], "", 1) != 1)
		return 3;
	/* The program's descriptors are its own: an end of file must reach it. */
	for (int fd = 0; fd < 256; fd++)
		if (fd != count_file)
			close(fd);
	pid_t pid;
	while ((pid = waitpid(-1, &status, __WALL)) > 0 || errno == EINTR) {
		if (pid > 0 && WIFSTOPPED(status))
			stopped(pid, status);
		else if (pid == program)
			result = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
		if (pid == program && counted == 0 && !WIFSTOPPED(status))
			break;
	}
	return result;
}
