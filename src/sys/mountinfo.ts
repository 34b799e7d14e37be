/** /proc/PID/mountinfo: what is mounted in a mount namespace. See proc_pid_mountinfo(5). */
import { readFileSync } from 'node:fs';

export interface Mount {
  /** The mount's id: `mnt_id` of a descriptor's fdinfo. */
  readonly id: number;
  readonly parentId: number;
  /** `major:minor` of the file system. */
  readonly device: string;
  /** Where, as the process sees it. */
  readonly mountPoint: string;
  /** File system type: `ext4`, `overlay`. */
  readonly type: string;
  /** Device or what stands for it. */
  readonly source: string;
  /** The directory of the file system that is mounted. */
  readonly root: string;
  /** Of this mount, not of the file system: `rw`, `nodev`, … */
  readonly options: readonly string[];
  /** `shared:N`, `master:N`: how mounts propagate. */
  readonly propagation: readonly string[];
  /** Of the file system, as the kernel prints them: octal escapes and all. */
  readonly superOptions: string;
}

/** The mounts of a mountinfo file's text, in its order: a later one at a place covers those before. */
export function parseMountinfo(text: string): Mount[] {
  return text
    .split('\n')
    .filter(Boolean)
    .map((line) => {
      // Optional fields lie before the separator, so what follows it is found from there.
      const separator = line.indexOf(' - ');
      const before = separator < 0 ? line : line.slice(0, separator);
      const after = separator < 0 ? '' : line.slice(separator + 3);
      const [id, parentId, device = '', root = '', mountPoint = '', options = '', ...propagation] =
        before.split(' ');
      const [type = '', source = '', superOptions = ''] = after.split(' ');
      return {
        id: Number(id),
        parentId: Number(parentId),
        device,
        mountPoint: unescapeOctal(mountPoint),
        type,
        source: unescapeOctal(source),
        root: unescapeOctal(root),
        options: options.split(','),
        propagation,
        superOptions,
      };
    });
}

/** Blank, tab, line feed, backslash and what else would break a field are written as `\040` and so on. */
export const unescapeOctal = (text: string): string =>
  text.includes('\\')
    ? text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)))
    : text;

/** The mounts a process sees. @throws where it is gone, or belongs to somebody else */
export const mountsOf = (pid: number | 'self'): Mount[] =>
  parseMountinfo(readFileSync(`/proc/${pid}/mountinfo`, 'utf8'));

/** Is something mounted at exactly this path, which has no links in it? */
export const isMountPoint = (path: string): boolean =>
  mountsOf('self').some(({ mountPoint }) => mountPoint === path);
