/*
 * A key in the session keyring, session-keyring(7).
 *
 * usage: session-key put PROGRAM [ARGUMENT...]   runs it with a key in a session keyring of its own
 *        session-key find                        says what comes of looking for that key
 */
#include <errno.h>
#include <linux/keyctl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NAME "overlay-boot-test"

int main(int argc, char **argv)
{
	if (argc > 2 && strcmp(argv[1], "put") == 0) {
		if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0 ||
		    syscall(SYS_add_key, "user", NAME, "x", 1, KEY_SPEC_SESSION_KEYRING) < 0) {
			perror("session-key");
			return 1;
		}
		execvp(argv[2], argv + 2);
		return 127;
	}
	long key = syscall(SYS_keyctl, KEYCTL_SEARCH, KEY_SPEC_SESSION_KEYRING, "user", NAME, 0);
	puts(key > 0 ? "found" : strerror(errno));
	return 0;
}
