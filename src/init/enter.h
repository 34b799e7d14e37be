/* overlay-go: the pieces of mode `enter`. How they work together is told in enter.c. */
#ifndef OVERLAY_BOOT_ENTER_H
#define OVERLAY_BOOT_ENTER_H

#include "init.h"

/* What `init enter` is told; text that was not given is NULL. */
struct enter_options {
	const char *name;   /* of the subhost, for messages and NAME */
	const char *pid;    /* pid 1 of the subhost, as the host numbers it */
	const char *start;  /* its start time in clock ticks */
	const char *cgroup; /* absolute path of the control group */
	const char *caps;   /* capabilities kept, a mask in hexadecimal; NULL: all */
	const char *user;   /* name or number; NULL: root */
	const char *dir;    /* working directory inside; NULL: the user's home */
	const char *term;   /* TERM */
	const char *mark;   /* with it, stdio is a host pty, and the end of output is told by this text */
	const char *stage;  /* NULL on the host; "inside": see enter-inside.c; "guard": see enter-terminal.c */
	char **command;     /* NULL-terminated; empty: a login shell */
};

#define ENTER_PREFIX "overlay-go: "
/* The descriptors of the stage "inside", beside its stdio. */
#define INSIDE_CONTROL 3
#define INSIDE_PIDFD 4

/* ---- enter-inside.c ---- */
int enter_inside(const struct enter_options *o);

/* ---- enter-relay.c ---- */
struct relayed {
	bool terminal;    /* `in` and `out` are one pty master, `err` is unused */
	int in, out, err; /* our ends of the inside process's stdio */
};
void relay_catch_signals(bool terminal); /* before anything is started */
pid_t relay_fork(void);                  /* 0 in the process that becomes the parent of the process inside */
void relay_starter(pid_t pid);           /* there: the child that is not the process inside */
_Noreturn void relay_reap(int told);     /* there: reads the pid of the process inside, and ends with its status */
int relay_status(void);                  /* waits for that one: an exit status */
void relay_follow_size(int master);      /* the inside terminal gets the size of ours, now and later */
int relay_run(const struct relayed *r);  /* until it has ended and all of its output is passed on; exit status */
void relay_pass_text(int from);          /* what is in a pipe goes to stderr */

/* ---- enter-terminal.c ---- */
int open_inside_terminal(uid_t uid, int *slave, const char **why); /* master; both O_CLOEXEC */
bool is_terminal_master(int fd);
bool make_raw(int fd);
int guard_terminal(void);

/* ---- enter-users.c: accounts of the root we are in ---- */
#define MAX_GROUPS 256
struct account {
	uid_t uid;
	gid_t gid;
	gid_t groups[MAX_GROUPS];
	int n_groups;
	char name[256], home[PATH_BYTES], shell[PATH_BYTES];
};
bool find_account(const char *name_or_number, struct account *a);

#endif
