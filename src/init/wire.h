/*
 * What goes over the socket between overlay-boot (Node), the launcher, the keepers and their children.
 * Frames: this header, then `len` bytes of NUL-terminated strings. src/launch/wire.ts has the same tables,
 * and a test compares them.
 */
#ifndef OVERLAY_BOOT_WIRE_H
#define OVERLAY_BOOT_WIRE_H

#include "init.h"

struct frame {
	uint32_t len;   /* bytes after the header */
	uint16_t index; /* which subhost of this call */
	uint16_t type;
};

#define FRAME_BYTES_MAX (1 << 20)

/* Requests: Node to a keeper, by way of the launcher. */
enum request {
	REQ_OPEN = 1,  /* STATE_DIR NAME CGROUP_MOUNT|""     take the lock: LOCKED or BUSY */
	REQ_CLEAR = 2, /* undo operations                    of a dead instance; run at once: DONE */
	REQ_CLONE = 3, /* NETNS_PATH "user"|""               make the namespaces: CLONED */
	REQ_UNDO = 4,  /* undo operations                    what the end has to take back; replaces the list */
	REQ_LOG = 5,   /* PATH                               open the log, keeping the one before: DONE */
	REQ_CHILD = 6, /* child operations                   run by pid 1 to be: DONE, or for `exec` READY */
	REQ_ACK = 7,   /* "stay"|""                          ready is known: from here on the subhost lives on */
	REQ_ABORT = 8, /* WHY|""                             end it, WHY being the log's last line: ENDED */
	REQ_STOP = 9,  /* STATE_DIR PID START_TIME GRACE_MS KEEPER START_TIME, undo operations
	                * end one that somebody else has booted, or clear what is left of it: STOPPED */
};

/* Events: a keeper to Node; GONE comes from the launcher. */
enum event {
	EV_LOCKED = 1, /* CGROUP|""                          the control group it will have */
	EV_BUSY = 2,
	EV_DONE = 3,
	EV_CLONED = 4, /* PID START_TIME KEEPER_START_TIME NETNS_INODE */
	EV_REPORT = 5, /* SERVICE                            it failed to start */
	EV_READY = 6,
	EV_FAILED = 7, /* WHAT PATH ERRNO STRERROR WHY       the first step that failed */
	EV_ENDED = 8,  /* KIND STATUS LEFT                   all is taken back, but what LEFT names */
	EV_GONE = 9,   /* -                                  the keeper's process has ended */
	EV_OPENED = 10, /* KEEPER_PID                        the keeper's pid, as soon as there is one */
	EV_STOPPED = 11, /* STATUS SAID                      0: all is gone; what `init stop` prints then, or complains of */
};

/* ---- wire.c ---- */
bool send_frame(int fd, uint16_t index, uint16_t type, const char *const *strings);
/* Reads one frame; the payload is in *payload (by resize()), ends with NUL. False: EOF or garbage. */
bool read_frame(int fd, struct frame *head, char **payload, size_t *room);
/* The next string of a payload, or NULL at its end. */
const char *next_string(const char *payload, size_t len, size_t *at);

#define LAUNCH_TITLE "                " /* as long as a name can be: launch's argument */

/* ---- keep.c ---- */
/* `title` is memory of the command line, where the subhost's name goes. */
_Noreturn void keep(int commands, int node, uint16_t index, char *title);

/* ---- host.c ---- */
/* Makes the directory where it is missing, and locks it; -1 and EWOULDBLOCK: somebody else has the lock. */
int lock_directory(const char *dir);
/* Opens the log in a directory that is reached without any link; the one before becomes PATH.1. */
int open_log(const char *path);
/* The control group's path: below the caller's own where that is delegated to it (systemd marks it so), else
 * at the top of the hierarchy; empty where there is none. */
void find_cgroup(const char *mount, const char *name, struct text *path);
int make_cgroup(char *path); /* and the one above it; a descriptor of it */
/* Names the network namespace of `pid` as ip-netns(8) does: a bind mount, on a mount point that propagates, so
 * that its removal is seen in the mount namespaces that were copied meanwhile. */
bool name_netns(const char *path, pid_t pid);
/*
 * fork(2) into new namespaces of every kind but user, and into the control group where one is given. With `user` the
 * network namespace belongs to a user namespace, which is made too: its descriptor.
 */
pid_t clone_namespaces(int cgroup, int *user);

/* ---- child.c ---- */
struct child_ends { /* the child's ends, at these numbers and nothing else open */
	int pair, log, report;
	int mounts; /* the host's mountinfo */
	int user;   /* the user namespace for `userns`, or -1 */
};
_Noreturn void child(struct child_ends ends);
/* The operations alone, for mount.c: without a keeper (pair -1) a failure is told on stderr. */
void begin_operations(struct child_ends ends);
bool run_operations(const char *payload, size_t len); /* false: one has failed, and was told of */
void take_back_operations(void);                     /* what they made, in the host's mount namespace again */
int operations_root(void);                            /* descriptor of what `root` opened */

/* Messages of the child to its keeper. */
enum word {
	WORD_DONE = 1,
	WORD_FAILED = 2, /* as EV_FAILED */
	WORD_HOLD = 3,   /* descriptors to be kept open as long as the subhost lives: LABEL, SCM_RIGHTS */
	WORD_EXEC = 4,   /* about to execute the shell; the keeper answers with a byte once it watches */
};

/* ---- undo.c ---- */
/* Runs undo operations (see there). Goes on after a failure; *left collects what could not be taken back. */
void run_undo(const char *ops, size_t len, bool keep_record, struct text *left);

/* ---- stop.c ---- */
/* For a process of the launcher's that is no keeper, but ends what another one keeps: does it, tells Node by EV_STOPPED, exits. */
_Noreturn void tell_stopped(int node, uint16_t index, const char *request, size_t len);

/* ---- netlink.c ---- */
/* 0: no such link. 1: it is there, *alias filled (empty: none). -1: error. */
int link_alias(const char *name, char *alias, size_t size);
int delete_link(const char *name);

#endif
