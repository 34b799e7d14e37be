/*
 * The child of the keeper: first process of the new namespaces, later pid 1 of the subhost. It runs the
 * operations it is sent, in the order they come, and stops at the first one that fails. Everything below
 * the subhost's root is reached by descriptor (inside.c), since the subhost's owner may have prepared it.
 * The table has the operations and their arguments; src/plan/child-ops.ts makes them.
 */
#include "child.h"

#define ARGUMENTS_MAX 6

struct operations_state ops; /* not initialized here: all of it would be in the program's file */

/* Without a keeper: `mount the image a.raw: Invalid argument: why`. */
static void complain_step(const char *const *strings)
{
	struct text line = {0};
	text_str(&line, strings[0]);
	if (strings[1][0]) {
		text_str(&line, " ");
		text_str(&line, strings[1]);
	}
	for (int i = 3; i < 5; i++)
		if (strings[i][0]) {
			text_str(&line, ": ");
			text_str(&line, strings[i]);
		}
	complain(text_end(&line), NULL, 0);
}

bool fail(const char *what, const char *path, int err, const char *why)
{
	struct text number = {0};
	text_num(&number, err);
	text_end(&number);
	const char *strings[] = {what, path, number.buf, err ? strerror(err) : "", why ? why : "", NULL};
	if (ops.failed)
		return false;
	ops.failed = true;
	if (ops.ends.pair < 0) {
		complain_step(strings);
		return false;
	}
	/* What the writable layer did not have before it does not have afterwards; a `work` that was there is hold()'s. */
	ops.made.inside_work = 0;
	take_back_writable(&ops.made, ops.made_upper, ops.made_work);
	send_frame(ops.ends.pair, 0, WORD_FAILED, strings);
	return false;
}

void take_back_operations(void)
{
	take_back_places();
	take_back_writable(&ops.made, ops.made_upper, ops.made_work);
}

void hold(const char *label, int fd)
{
	if (ops.ends.pair < 0)
		return; /* held until this process ends, which is when the mount is there */
	char message[sizeof(struct frame) + 32];
	struct frame head = {.len = (uint32_t)strlen(label) + 1, .type = WORD_HOLD};
	memcpy(message, &head, sizeof head);
	memcpy(message + sizeof head, label, head.len);
	send_fds(ops.ends.pair, message, sizeof head + head.len, &fd, 1);
	close(fd);
}

unsigned attrs(unsigned more)
{
	return more | (ops.devices_allowed ? 0 : MOUNT_ATTR_NODEV);
}

static const struct operation {
	const char *name;
	int arguments;
	bool (*run)(const char *const *arguments);
} operations[] = {
	{"devices-allowed", 0, op_devices_allowed}, /* CAPS=all: no mount is nodev */
	{"worklock", 1, op_worklock},               /* WORK: one writable layer has one user */
	{"lower", 1, op_lower},                     /* DIR: the next layer, the top first */
	{"user-xattrs", 0, op_user_xattrs},
	{"overlay", 3, op_overlay},                 /* LIVE UPPER|"" WORK|"" */
	{"bind", 3, op_bind},                       /* UPPER LIVE ro|rw */
	{"self", 1, op_self},                       /* LIVE */
	{"writable", 2, op_writable},               /* UPPER WORK: made where missing, WORK locked and emptied */
	{"stage", 1, op_tmpfs},                     /* LIVE: images are mounted below it, the root covers it */
	{"tmpfs", 1, op_tmpfs},                     /* LIVE: a root without layers */
	{"directory", 1, op_directory},             /* PATH */
	{"directory-or-empty", 2, op_directory_or_empty}, /* PATH AT: a link to PATH, or an empty directory */
	{"image", 6, op_image},                     /* IMAGE OFFSET SIZE TYPE ro|rw AT */
	{"take", 2, op_take},                       /* SOURCE ro|rw */
	{"put", 2, op_put},                         /* NUMBER INSIDE: attaches what was taken as the n-th */
	{"root", 1, op_root},                       /* LIVE: what follows is below it */
	{"seal", 0, op_seal},                       /* the root's mount becomes read-only */
	{"seed", 3, op_seed},                       /* UPPER FILE TEXT: written if it is missing */
	{"system", 2, op_system},                   /* dev|proc|sys|run OPTION */
	{"adjtime", 0, op_adjtime},
	{"reaper", 1, op_reaper},                   /* PROGRAM */
	{"share", 3, op_share},                     /* HOST INSIDE ro|rw */
	{"protect", 2, op_protect},                 /* ro|rw|mask PATH */
	{"pivot", 0, op_pivot},
	{"hostname", 1, op_hostname},
	{"lo", 0, op_lo},
	{"userns", 0, op_userns},
	{"caps", 1, op_caps},                       /* MASK in hexadecimal */
	{"exec", 2, op_exec},                       /* NAME SCRIPT */
};

static bool run_operation(const char *name, const char *payload, size_t len, size_t *at)
{
	const char *arguments[ARGUMENTS_MAX] = {0};
	for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
		if (strcmp(operations[i].name, name) != 0)
			continue;
		for (int n = 0; n < operations[i].arguments; n++)
			if (!(arguments[n] = next_string(payload, len, at)))
				return fail("read the plan: arguments of", name, 0, NULL);
		return operations[i].run(arguments);
	}
	return fail("read the plan: no such operation", name, 0, NULL);
}

void begin_operations(struct child_ends ends)
{
	ops.ends = ends;
	ops.root = -1;
}

bool run_operations(const char *payload, size_t len)
{
	size_t at = 0;
	const char *name;
	while (!ops.failed && (name = next_string(payload, len, &at)))
		run_operation(name, payload, len, &at);
	return !ops.failed;
}

int operations_root(void)
{
	return ops.root;
}

_Noreturn void child(struct child_ends ends)
{
	static char *payload;
	static size_t room;
	struct frame head;
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	/* Numbers above 9 first: they may have any number now, also each other's. */
	int high[] = {ends.pair, ends.log, ends.report, ends.mounts, ends.user};
	for (int i = 0; i < 5; i++)
		high[i] = fcntl(high[i], F_DUPFD, 10);
	for (int i = 0; i < 5; i++)
		if (dup3(high[i], 3 + i, O_CLOEXEC) < 0)
			close(3 + i); /* no user namespace */
	close_from(8);
	begin_operations((struct child_ends){.pair = 3, .log = 4, .report = 5, .mounts = 6, .user = 7});
	signal(SIGPIPE, SIG_IGN);
	if (sys_mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		fail("make the mount namespace private", "/", errno, NULL);
	while (!ops.failed && read_frame(ops.ends.pair, &head, &payload, &room))
		if (run_operations(payload, head.len))
			send_frame(ops.ends.pair, 0, WORD_DONE, NULL);
	_exit(1);
}
