/* Stops (SIGSTOP) whatever process comes to life after it in its pid namespace, for at most a minute. */
#include <signal.h>
#include <time.h>
#include <unistd.h>

int main(void)
{
	pid_t own = getpid();
	time_t end = time(NULL) + 60;
	if (fork() > 0)
		return 0;
	signal(SIGTERM, SIG_IGN);
	setsid();
	while (time(NULL) < end)
		for (pid_t pid = own + 2; pid < own + 40; pid++)
			kill(pid, SIGSTOP);
	return 0;
}
