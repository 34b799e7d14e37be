/* Locks for Node, which has no call for it. */
#include "init.h"
#include <sys/file.h>

/*
 * Takes the lock of what the caller has open as descriptor 3. It stays with that open file when this process has
 * ended, and is let go of by the kernel when the last who has it open is gone.
 *
 * usage: init lock shared|exclusive [wait]
 *
 * The exit status is 3 where somebody else has it.
 */
int lock_main(int argc, char **argv)
{
	if (argc < 1)
		return complain("usage: init", "lock shared|exclusive [wait]", 0);
	int kind = strcmp(argv[0], "shared") == 0 ? LOCK_SH : LOCK_EX;
	if (flock(3, kind | (argc > 1 ? 0 : LOCK_NB)) == 0)
		return 0;
	return errno == EWOULDBLOCK ? 3 : complain("lock", NULL, errno);
}
