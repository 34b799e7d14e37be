/** A system for containers, small enough that an emulated machine boots it in seconds: systemd, and a message bus. */
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from './cache.js';

/** The file that says what is in it. */
export const GUEST_RECIPE = __filename;

/** Its archive on the machine, for `stacko import-image`. */
export const GUEST = '/srv/guest.tar';

/** What a container is made of, from the machine's own root... */
const PARTS = [
  ...['bin', 'sbin', 'lib', 'lib64', 'etc', 'usr/bin', 'usr/sbin', 'usr/lib64', 'usr/lib/x86_64-linux-gnu'],
  ...['usr/lib/systemd', 'usr/lib/os-release', 'usr/share/dbus-1'],
];
/** ... and what of that has no use in it, or is the machine's. */
const WITHOUT = [
  ...['libnode*', 'libicu*', 'libapt*', 'libssl*', 'libgnutls*', 'libdb-*', 'perl*', 'gconv'].map(
    (name) => `usr/lib/x86_64-linux-gnu/${name}`,
  ),
  ...['node', 'perl*', 'ssh*', 'apt*', 'dpkg*', 'sqv', 'busybox', 'zstd', 'pzstd'].map(
    (name) => `usr/bin/${name}`,
  ),
  ...['etc/systemd/system', 'etc/ssh', 'etc/fstab', 'etc/hostname', 'etc/localtime', 'etc/dpkg', 'etc/apt'],
];

const EMPTY = ['dev', 'proc', 'sys', 'run', 'tmp', 'root', 'srv', 'var/tmp', 'var/log', 'usr/share/zoneinfo'];

/** Units that would start something, and those of them that may. */
const ACTIVE = /\.(service|timer|path|mount|automount)$|^getty\.target$|^systemd-journald.*socket$/;
const STARTED = /^(dbus|systemd-poweroff|systemd-reboot|systemd-halt)|@/;
const TARGET = '[Unit]\nRequires=basic.target dbus.socket\nAfter=basic.target\n';

/** Writes the archive into the machine's root. */
export async function makeGuest(root: string): Promise<void> {
  const top = mkdtempSync(join(root, 'srv/guest-'));
  const without = WITHOUT.map((pattern) => `--exclude=./${pattern}`);
  const copy = 'from=$1 to=$2; shift 2; tar -C "$from" -cf - "$@" | tar -C "$to" -xf -';
  await run('sh', '-c', copy, 'sh', root, top, '--anchored', ...without, ...PARTS.map((path) => `./${path}`));
  for (const path of EMPTY) mkdirSync(join(top, path), { recursive: true });
  chmodSync(top, 0o755);
  symlinkSync('/run', join(top, 'var/run'));
  const units = join(top, 'etc/systemd/system');
  mkdirSync(units, { recursive: true });
  for (const unit of readdirSync(join(top, 'usr/lib/systemd/system')))
    if (ACTIVE.test(unit) && !STARTED.test(unit)) symlinkSync('/dev/null', join(units, unit));
  writeFileSync(join(units, 'small.target'), TARGET);
  symlinkSync('small.target', join(units, 'default.target'));
  await run('tar', '-C', top, '-cf', join(root, GUEST), '.');
  rmSync(top, { recursive: true });
}
