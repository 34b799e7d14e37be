/*
 * The init program: what has to be done by system call, and nothing else. One static binary, several
 * modes (see main.c); it is also /.reaper, pid 1 of a subhost.
 *
 * No threads, hence _Fork(2) and not fork(3), which looks after their locks.
 * No stdio and no malloc: they are kept memory in what stays resident (keep, reap), and a third of the program.
 */
#ifndef OVERLAY_BOOT_INIT_H
#define OVERLAY_BOOT_INIT_H

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <linux/mount.h> /* not sys/mount.h: the two clash, and only this one has the new mount API */
#include <linux/openat2.h>

#ifndef MNT_DETACH /* only in sys/mount.h */
#define MNT_DETACH 2
#define UMOUNT_NOFOLLOW 8
#endif

#define PATH_BYTES 4096
#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* ---- modes: each gets the arguments after its name and returns the exit status ---- */
int start_main(int argc, char **argv);  /* start.c: Node, with the launcher beside it */
int launch_main(int argc, char **argv); /* launch.c: forks a keeper for each subhost to boot */
int reap_main(void);                    /* reap.c: /.reaper, pid 1 after the start script */
int enter_main(int argc, char **argv);  /* enter.c: a process inside, relayed */
int share_main(int argc, char **argv);  /* share.c: attach or detach a bind mount of a running subhost */
int stop_main(void);                     /* stop.c: end a subhost and clear what is left of it */
int mount_main(int argc, char **argv);  /* mount.c: mount a stack for the host */
int umount_main(int argc, char **argv); /* mount.c: take mounts away */
int lock_main(int argc, char **argv);   /* lock.c: take a lock for Node */

/* ---- text.c: text without stdio ---- */
struct text { /* a line under construction; what does not fit is cut */
	size_t len;
	char buf[1024];
};
void text_str(struct text *t, const char *s);
void text_num(struct text *t, long long n);
const char *text_end(struct text *t); /* its NUL-terminated string */
/* "WHAT PATH: strerror(err)" on stderr, or only "WHAT" where the rest is NULL/0; returns 1. */
int complain(const char *what, const char *path, int err);
long long parse_num(const char *s); /* a decimal number >= 0, or -1 */
bool parse_hex(const char *s, uint64_t *n); /* of 1 to 16 hexadecimal digits */
void text_time(struct text *t, time_t when); /* UTC as 2025-04-15T12:00:00Z */

/* ---- sys.c: system calls musl has no wrapper for, and small file helpers ---- */
int sys_openat2(int dir, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve);
int sys_open_tree(int dir, const char *path, unsigned flags);
int sys_move_mount(int from, const char *from_path, int to, const char *to_path, unsigned flags);
int sys_fsopen(const char *type, unsigned flags);
int sys_fsconfig(int fd, unsigned cmd, const char *key, const void *value, int aux);
int sys_fsmount(int fd, unsigned flags, unsigned attrs);
int sys_mount_setattr(int dir, const char *path, unsigned flags, struct mount_attr *attr);
int sys_mount(const char *src, const char *dst, const char *type, unsigned long flags, const char *data);
int sys_umount(const char *path, int flags);
int sys_pivot_root(const char *new_root, const char *put_old);
int sys_clock(clockid_t clock, struct timespec *now); /* not by the vDSO, whose finding is a KiB of program */
int sys_pidfd_open(pid_t pid);
/* statx(2) as the kernel has it: not every musl knows it, and none the unique mount id (Linux 6.8). */
struct statx_head {
	uint32_t mask, blksize;
	uint64_t attributes;
	uint64_t between[16];
	uint64_t mount_id; /* byte 144 */
	uint64_t rest[13];
};
#define STATX_MOUNT_ID 0x1000u
#define STATX_MOUNT_ID_UNIQUE 0x4000u
#define STATX_IS_MOUNT_ROOT 0x2000u
int sys_statx(int fd, unsigned wanted, struct statx_head *got); /* of what the descriptor is open on */
int sys_pidfd_send_signal(int pidfd, int sig);
bool write_all(int fd, const void *buf, size_t len);          /* retries EINTR and short writes */
ssize_t read_file(const char *path, char *buf, size_t size);  /* NUL-terminated, or -1 */
/* Memory by whole pages, moved when it has to be; to size 0 it goes back to the kernel. NULL: there is none. */
void *resize(void *old, size_t old_size, size_t size);
long long start_time_ticks(pid_t pid);                        /* proc(5) stat field 22; -1: gone; zombies count as gone */
long long process_start(pid_t pid, char *state);               /* the same, and the letter of its state, T: stopped */
void close_from(int first);                                   /* close_range(first, ~0) */
int send_fds(int sock, const void *msg, size_t len, const int *fds, int n);
ssize_t recv_fds(int sock, void *msg, size_t size, int *fds, int *n); /* *n: room in, number out; fds are O_CLOEXEC */

/* ---- confine.c ---- */
/*
 * Drops every capability that is not in `keep` (bit n: capability n) from all five sets of this process. Without
 * CAP_SYS_ADMIN it may make no user namespace from then on, and use no keys.
 */
int keep_capabilities(uint64_t keep);

/*
 * ---- inside.c: resolving inside a root that its owner may have prepared ----
 * `root` is a descriptor of the subhost's root (or of a mount below which to stay). All of them return an
 * O_PATH descriptor, or -1 with errno and a static text in *why where errno does not tell enough.
 */
/* Exactly this path, no symbolic link anywhere; made as a directory (0755) or an empty file when missing. */
int open_place(int root, const char *path, bool directory, bool make, const char **why);
/* As the subhost's own programs would see it: links are followed, never out of the root; missing parts made. */
int open_target(int root, const char *path, bool directory, bool make, const char **why);
/* Removes a file that open_place() made. */
void remove_place(int root, const char *path);
/* From now on both remember what they make, and take_back_places() removes it again, the last first. */
void remember_places(void);
/* `root` is an overlay: what it copies to `upper` for what is made in it is remembered, too. */
void remember_copies(int upper, int root);
void take_back_places(void);

#endif
