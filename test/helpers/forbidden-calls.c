/* What a confined subhost may not ask the kernel for, each call with the errno it got, or "allowed". */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static void tell(const char *name, long result)
{
	printf("%s: %s\n", name, result < 0 ? strerror(errno) : "allowed");
}

int main(void)
{
	char arguments[88] = {0};
	long pid = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
	if (pid == 0)
		_exit(0);
	tell("clone of a user namespace", pid);
	tell("unshare of a user namespace", unshare(CLONE_NEWUSER));
	tell("clone3", syscall(SYS_clone3, arguments, sizeof arguments));
	tell("keyctl", syscall(SYS_keyctl, 0 /* KEYCTL_GET_KEYRING_ID */, -4 /* the user's */, 0, 0, 0));
	tell("add_key", syscall(SYS_add_key, "user", "x", "y", 1, -4));
	tell("request_key", syscall(SYS_request_key, "user", "x", 0, -4));
	tell("unshare of open files", unshare(CLONE_FILES));
#ifdef __x86_64__
	long narrow;
	__asm__ volatile("int $0x80" : "=a"(narrow) : "a"(310L), "b"(CLONE_NEWUSER) : "memory", "r8", "r9", "r10", "r11");
	errno = (int)-narrow;
	tell("the same by 32 bits", narrow);
	tell("the same by x32", syscall(0x40000000 | SYS_unshare, CLONE_NEWUSER));
#endif
	return 0;
}
