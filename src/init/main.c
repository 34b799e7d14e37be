/* Picks the mode. Inside a subhost the program is called /.reaper, and then that is all it does. */
#include "init.h"

int main(int argc, char **argv)
{
	const char *base = argc > 0 ? strrchr(argv[0], '/') : NULL;
	if (base && strcmp(base, "/.reaper") == 0)
		return reap_main();
	if (argc < 2)
		return complain("usage: init", "start|launch|enter|share|stop|mount|umount|lock|reap ...", 0);
	const char *mode = argv[1];
	if (strcmp(mode, "start") == 0)
		return start_main(argc - 2, argv + 2);
	if (strcmp(mode, "launch") == 0)
		return launch_main(argc - 2, argv + 2);
	if (strcmp(mode, "enter") == 0)
		return enter_main(argc - 2, argv + 2);
	if (strcmp(mode, "share") == 0)
		return share_main(argc - 2, argv + 2);
	if (strcmp(mode, "stop") == 0)
		return stop_main();
	if (strcmp(mode, "mount") == 0)
		return mount_main(argc - 2, argv + 2);
	if (strcmp(mode, "umount") == 0)
		return umount_main(argc - 2, argv + 2);
	if (strcmp(mode, "lock") == 0)
		return lock_main(argc - 2, argv + 2);
	if (strcmp(mode, "reap") == 0)
		return reap_main();
	return complain("no such mode", mode, 0);
}
