/**
 * What has to be on the machine, and the Debian package it comes from.
 * A need is looked for, never assumed: a program on PATH, or a file where `file` says so.
 *
 * @typedef {'npm' | 'build' | 'run' | 'test' | 'bench' | 'deb' | 'vm'} Purpose
 * @typedef {{ readonly find: string, readonly package: string, readonly purposes: readonly Purpose[] }} Need
 */

/**
 * `find` with a leading `/` is a file, else a program. `npm` is what npm needs to compile node-pty.
 * @type {readonly Need[]}
 */
export const needs = [
  { find: 'gcc', package: 'gcc', purposes: ['npm', 'build', 'test'] },
  { find: 'make', package: 'make', purposes: ['npm'] },
  { find: 'g++', package: 'g++', purposes: ['npm'] },
  { find: 'python3', package: 'python3', purposes: ['npm', 'test'] },
  { find: 'musl-gcc', package: 'musl-tools', purposes: ['build'] },
  { find: '/usr/include/linux/mount.h', package: 'linux-libc-dev', purposes: ['build'] },
  { find: 'ip', package: 'iproute2', purposes: ['run', 'test'] },
  { find: 'nsenter', package: 'util-linux', purposes: ['run', 'test'] },
  { find: 'losetup', package: 'mount', purposes: ['run', 'test'] },
  { find: 'modprobe', package: 'kmod', purposes: ['run', 'test'] },
  { find: 'ps', package: 'procps', purposes: ['run', 'test'] },
  { find: 'xz', package: 'xz-utils', purposes: ['run', 'test'] },
  { find: 'bzip2', package: 'bzip2', purposes: ['run', 'test'] },
  { find: 'zstd', package: 'zstd', purposes: ['run', 'test'] },
  { find: 'script', package: 'bsdutils', purposes: ['test'] },
  { find: 'sfdisk', package: 'fdisk', purposes: ['test'] },
  { find: 'busybox', package: 'busybox-static', purposes: ['test', 'bench'] },
  { find: 'mksquashfs', package: 'squashfs-tools', purposes: ['test'] },
  { find: 'mkfs.ext4', package: 'e2fsprogs', purposes: ['test', 'vm'] },
  { find: 'mkfs.erofs', package: 'erofs-utils', purposes: ['test'] },
  { find: 'mkfs.xfs', package: 'xfsprogs', purposes: ['test'] },
  { find: 'mkfs.btrfs', package: 'btrfs-progs', purposes: ['test'] },
  { find: 'strace', package: 'strace', purposes: ['test'] },
  { find: 'mmdebstrap', package: 'mmdebstrap', purposes: ['test', 'vm'] },
  { find: 'ifup', package: 'ifupdown', purposes: ['test'] },
  { find: 'ping', package: 'iputils-ping', purposes: ['test'] },
  { find: 'tmux', package: 'tmux', purposes: ['test'] },
  { find: 'less', package: 'less', purposes: ['test'] },
  { find: 'logrotate', package: 'logrotate', purposes: ['test'] },
  { find: 'man', package: 'man-db', purposes: ['test'] },
  { find: 'shellcheck', package: 'shellcheck', purposes: ['test'] },
  { find: 'systemd-nspawn', package: 'systemd-container', purposes: ['test', 'bench'] },
  { find: 'lintian', package: 'lintian', purposes: ['test'] },
  { find: 'objdump', package: 'binutils', purposes: ['deb', 'test', 'vm'] },
  { find: 'bwrap', package: 'bubblewrap', purposes: ['bench'] },
  { find: 'crun', package: 'crun', purposes: ['bench'] },
];

/**
 * The packages that bring what is not there, each once.
 * @param {readonly Purpose[]} purposes
 * @param {(find: string) => boolean} isThere
 * @returns {string[]}
 */
export function missingPackages(purposes, isThere) {
  const missing = needs.filter(
    (need) => need.purposes.some((purpose) => purposes.includes(purpose)) && !isThere(need.find),
  );
  return [...new Set(missing.map((need) => need.package))];
}
