/* Terminals: the subhost's own pty, and the caller's terminal while it is not in use by its shell. */
#include "enter.h"
#include <sys/vfs.h>
#include <termios.h>
#include <linux/magic.h>

#define TTY_GROUP 5 /* the group `tty` of every distribution, and what login(1) gives a terminal to */

static bool on_devpts(int fd)
{
	struct statfs fs;
	return fstatfs(fd, &fs) == 0 && fs.f_type == DEVPTS_SUPER_MAGIC;
}

/* Is it what it should be: the subhost could have put something else where its /dev/pts/ptmx was. */
bool is_terminal_master(int fd)
{
	unsigned number;
	return on_devpts(fd) && ioctl(fd, TIOCGPTN, &number) == 0;
}

/*
 * A new pty of the devpts of the root we are in. The slave is opened through the master (TIOCGPTPEER), not
 * by a path that the subhost could have put something else at. O_NONBLOCK: a fifo would have us wait.
 */
int open_inside_terminal(uid_t uid, int *slave, const char **why)
{
	int flags = O_RDWR | O_NOCTTY | O_CLOEXEC, locked = 0;
	int master = open("/dev/pts/ptmx", flags | O_NONBLOCK);
	*why = "cannot open /dev/pts/ptmx in the subhost";
	if (master < 0)
		return -1;
	*why = "/dev/pts in the subhost is no devpts";
	errno = 0;
	*slave = -1;
	if (is_terminal_master(master)) {
		*why = "cannot make a terminal in the subhost";
		if (ioctl(master, TIOCSPTLCK, &locked) == 0)
			*slave = ioctl(master, TIOCGPTPEER, flags);
	}
	if (*slave < 0) {
		close(master);
		return -1;
	}
	/* As login(1) does, so that mesg(1) and write(1) work. A devpts may refuse; its terminal works all the same. */
	if (fchown(*slave, uid, TTY_GROUP) < 0 || fchmod(*slave, 0620) < 0)
		fchown(*slave, uid, (gid_t)-1);
	struct termios mode;
	if (tcgetattr(*slave, &mode) == 0) {
		mode.c_iflag |= IUTF8; /* LANG is C.UTF-8: a backspace erases a character, not a byte */
		tcsetattr(*slave, TCSANOW, &mode);
	}
	return master;
}

bool make_raw(int fd)
{
	struct termios mode;
	if (tcgetattr(fd, &mode) < 0)
		return false;
	cfmakeraw(&mode);
	return tcsetattr(fd, TCSANOW, &mode) == 0;
}

/*
 * Makes the terminal on stdin raw, says so by a byte on descriptor 3, and sets it back when that reaches its
 * end: when Node wants it, or when Node is gone, however that came. Node's own raw mode keeps ONLCR, with
 * which the cursor movements of tmux come out wrong, and after a SIGKILL nobody would end it.
 */
int guard_terminal(void)
{
	const int left_alone[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGTTOU, SIGPIPE};
	struct termios mode;
	char byte = 'r';
	for (size_t i = 0; i < sizeof left_alone / sizeof left_alone[0]; i++)
		signal(left_alone[i], SIG_IGN);
	if (tcgetattr(STDIN_FILENO, &mode) < 0 || !make_raw(STDIN_FILENO))
		return complain(ENTER_PREFIX "cannot set the terminal's mode", NULL, errno);
	write_all(3, &byte, 1);
	while (read(3, &byte, 1) > 0 || errno == EINTR)
		errno = 0;
	return tcsetattr(STDIN_FILENO, TCSANOW, &mode) == 0 ? 0 : 1;
}
