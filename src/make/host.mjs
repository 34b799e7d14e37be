/** The machine that the set-up runs on: what it has, and why it would not do. Node's own modules only. */
import { accessSync, constants, existsSync, readFileSync, statfsSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** Where Debian keeps programs; `su` without `-` leaves the sbin ones out of PATH, and dpkg needs them. */
const standardPath = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'];

/**
 * PATH with `first` before everything and every standard directory in it.
 * @param {string | undefined} path
 * @param {readonly string[]} first
 */
export function completePath(path, first = []) {
  const given = (path ?? '').split(':').filter((dir) => dir !== '');
  return [...new Set([...first, ...given, ...standardPath])].join(':');
}

/**
 * Is the program on PATH, or, for an absolute path, the file there?
 * @param {string} find
 * @param {string} path
 */
export function isThere(find, path) {
  if (find.startsWith('/')) return existsSync(find);
  return path.split(':').some((dir) => isExecutableFile(join(dir, find)));
}

/** @param {string} file */
function isExecutableFile(file) {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}

/**
 * Is `version` (`v20.19.2`) at least `least` (`20.19`)?
 * @param {string} version
 * @param {string} least
 */
export function isAtLeast(version, least) {
  const [major = 0, minor = 0] = version.replace(/^v/, '').split('.').map(Number);
  const [leastMajor = 0, leastMinor = 0] = least.split('.').map(Number);
  return major > leastMajor || (major === leastMajor && minor >= leastMinor);
}

/**
 * Debian, or what says that it is like it.
 * @param {string} osRelease  text of /etc/os-release, os-release(5)
 */
export function isDebian(osRelease) {
  const words = [...osRelease.matchAll(/^(?:ID|ID_LIKE)=(.*)$/gm)].flatMap(([, value = '']) =>
    value.replace(/["']/g, '').split(/\s+/),
  );
  return words.includes('debian');
}

/**
 * Does the kernel have overlayfs?
 * @param {string} filesystems  text of /proc/filesystems
 */
export function hasOverlay(filesystems) {
  return /^(nodev)?\s+overlay$/m.test(filesystems);
}

const CAP_SYS_ADMIN = 21; // capabilities(7); the number is linux/capability.h's

/**
 * May root mount here? In an unprivileged container root may not.
 * @param {string} status  text of /proc/self/status, proc(5)
 */
export function mayMount(status) {
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0';
  return ((BigInt(`0x${effective}`) >> BigInt(CAP_SYS_ADMIN)) & 1n) === 1n;
}

/**
 * The prefix that holds Node's own headers, for npm_config_nodedir: node-gyp then downloads nothing.
 * Headers of another Node version are passed over.
 * @param {string} execPath
 * @param {string} version  with its `v`
 * @returns {string | undefined}
 */
export function headersPrefix(execPath, version) {
  const prefix = dirname(dirname(execPath));
  const header = readIfThere(join(prefix, 'include/node/node_version.h'));
  const [major, minor, patch] = ['MAJOR', 'MINOR', 'PATCH'].map(
    (part) => new RegExp(`^#define NODE_${part}_VERSION (\\d+)`, 'm').exec(header)?.[1],
  );
  return `v${major}.${minor}.${patch}` === version ? prefix : undefined;
}

const OVERLAYFS_MAGIC = 0x794c7630; // linux/magic.h

/**
 * The first of the directories where an overlay can have its writable layer: overlayfs takes none that lies
 * on an overlay, as everything but tmpfs does in most containers.
 * @param {readonly string[]} dirs
 * @param {(dir: string) => number} fileSystemType  statfs(2) f_type
 * @returns {string | undefined}
 */
export function firstFitForUpper(dirs, fileSystemType = (dir) => statfsSync(dir).type) {
  return dirs.find((dir) => fileSystemType(dir) !== OVERLAYFS_MAGIC);
}

/**
 * The text of a file, empty where there is none.
 * @param {string} file
 */
export function readIfThere(file) {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}
