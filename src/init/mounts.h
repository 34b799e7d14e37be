/* Mounting: the one place in the project that decides on overlay options and attaches mounts. */
#ifndef OVERLAY_BOOT_MOUNTS_H
#define OVERLAY_BOOT_MOUNTS_H

#include "init.h"

/*
 * An overlay under construction: layers are added the top first. All zero: not begun. Linux before 6.7 takes
 * its options as one page of text (`old`); there the layers are given by descriptor.
 */
struct overlay {
	int fs;   /* from fsopen(2), + 1 */
	int last; /* the old form's last descriptor */
	bool old, begun, user_xattrs; /* begun: a layer is in it, by the new form */
	const char *why;
	char message[512]; /* the kernel's own words, fsconfig(2) */
	char options[4096];
};

bool overlay_lower(struct overlay *o, const char *layer);
/* UPPER "" makes it read-only. Attached at `live`. */
bool overlay_mount(struct overlay *o, const char *upper, const char *work, const char *live, unsigned attrs);

/* A bind mount of `source` on `target`, both paths of the host; `recursive` is 0 or AT_RECURSIVE. */
bool bind_mount(const char *source, const char *target, unsigned attrs, unsigned recursive);
/* The same in two steps: a copy of the mount that is attached nowhere; then attached (both are closed). */
int bind_tree(const char *source, unsigned attrs, unsigned recursive);
bool attach_tree(int tree, int target);
/* A tmpfs of mode 0755 on a path of the host. */
bool tmpfs_mount(const char *live, unsigned attrs);

struct image {
	const char *path, *type;
	uint64_t offset, size; /* size 0: to the end */
	bool read_only;
};

/* The image's file system on `at`, which is made; by a loop device that goes away with the mount. */
bool image_mount(const struct image *image, const char *at, unsigned attrs);

struct made {
	bool upper, work;
	/* The directories that they are in, and `work`: still reached where the mounts are not seen any more. */
	int beside_upper, beside_work, inside_work;
	int inside_upper; /* + 1 */
};

/*
 * Locks a work directory: one writable layer has one user. A subhost's keeper holds the lock; a root that the host
 * has mounted is held by no process, but is in `mounts`, which is the host's mountinfo, opened earlier.
 */
bool lock_work(int work, int mounts, const char **why);
/* Makes both where missing, locks and empties `work`; its descriptor, or -1. Tells what was made. */
int prepare_writable(const char *upper, const char *work, int mounts, struct made *made, const char **path,
		     const char **why);
/* Removes what of both was made, with all that the overlay put there; a `work` that was there is emptied. */
void take_back_writable(const struct made *made, const char *upper, const char *work);
/* A bind mount of the host's `source` at `inside` below `root`; the target is made when missing. */
bool share_mount(int root, const char *source, const char *inside, unsigned attrs, const char **why);

/* A file written below `dir` without following any link, only if it is missing. */
bool seed_file(int dir, const char *path, const char *content, const char **why);

/* /dev with its devices, pts, shm, mqueue; console[] is the master and slave of what /dev/console is. */
bool mount_dev(int root, unsigned attrs, int console[2], const char **path, const char **why);
/* proc, sys, run; `option` is the size of /run's tmpfs, "ro" or "rw" for sys, "" for proc. */
bool mount_system(int root, const char *which, const char *option, const char **path, const char **why);
/* Makes PATH read-only ("ro"), writable again ("rw"), or hides it ("mask"); what is missing needs nothing. */
bool protect(int root, const char *how, const char *path);
/* Binds the program at the first place that can be had; its path inside, or NULL. */
const char *place_reaper(int root, const char *program, const char **why);
bool bind_adjtime(int root, const char **why);

#endif
