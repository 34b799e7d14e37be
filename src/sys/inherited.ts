/** Descriptors that came from whoever started us, beyond stdin, stdout and stderr. */
import { closeSync, readdirSync, readFileSync } from 'node:fs';

/** O_CLOEXEC as /proc/PID/fdinfo writes flags: octal; x86 and ARM have the same. */
const CLOSE_ON_EXEC = 0o2000000;

/** libuv's uv_disable_stdio_inheritance() looks after these, whatever is open. */
const MARKED_BY_NODE = 15;

/**
 * Closes what our programs would inherit: a hook may leave a daemon in the subhost, which would have it for as long
 * as that lives. Node marks what it opens itself as close-on-exec, and of what it inherits only the first sixteen.
 */
export function closeInherited(): void {
  for (const fd of readdirSync('/proc/self/fd').map(Number))
    if (fd > MARKED_BY_NODE && isInherited(fd)) closeSync(fd);
}

function isInherited(fd: number): boolean {
  try {
    const [, flags = '0'] =
      /^flags:\s*([0-7]+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8')) ?? [];
    return (Number.parseInt(flags, 8) & CLOSE_ON_EXEC) === 0;
  } catch {
    return false; // the one that the directory was read with
  }
}
