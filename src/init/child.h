/*
 * What the files of the child share: child.c runs the operations it is sent, child-root.c has those that make the
 * root, child-inside.c those below it and into it. An operation gets its arguments, and has failed if it is false.
 */
#ifndef OVERLAY_BOOT_CHILD_H
#define OVERLAY_BOOT_CHILD_H

#include "mounts.h"
#include "wire.h"

#define TAKEN_MAX 256

struct operations_state {
	struct child_ends ends;
	int root;
	const char *reaper;
	struct overlay overlay;
	struct made made; /* of the writable layer: taken back if the rest fails */
	char made_upper[PATH_BYTES], made_work[PATH_BYTES];
	int taken[TAKEN_MAX], n_taken;
	bool devices_allowed;
	bool failed;
};
extern struct operations_state ops;

/* ---- child.c ---- */
/* The first thing that failed, told to the keeper; false, for `return fail(...)`. */
bool fail(const char *what, const char *path, int err, const char *why);
/* Gives a descriptor to the keeper, to be kept open as long as the subhost lives. */
void hold(const char *label, int fd);
/* Attributes of a mount: these, and nodev unless devices are allowed. mount_setattr(2) */
unsigned attrs(unsigned more);

/* ---- child-root.c ---- */
bool op_devices_allowed(const char *const *a);
bool op_worklock(const char *const *a);
bool op_lower(const char *const *a);
bool op_user_xattrs(const char *const *a);
bool op_overlay(const char *const *a);
bool op_bind(const char *const *a);
bool op_self(const char *const *a);
bool op_root(const char *const *a);
bool op_writable(const char *const *a);
bool op_tmpfs(const char *const *a);
bool op_directory(const char *const *a);
bool op_directory_or_empty(const char *const *a);
bool op_image(const char *const *a);
bool op_take(const char *const *a);
bool op_put(const char *const *a);
bool op_seal(const char *const *a);

/* ---- child-inside.c ---- */
bool op_seed(const char *const *a);
bool op_system(const char *const *a);
bool op_reaper(const char *const *a);
bool op_adjtime(const char *const *a);
bool op_share(const char *const *a);
bool op_protect(const char *const *a);
bool op_pivot(const char *const *a);
bool op_hostname(const char *const *a);
bool op_lo(const char *const *a);
bool op_userns(const char *const *a);
bool op_caps(const char *const *a);
bool op_exec(const char *const *a);

#endif
