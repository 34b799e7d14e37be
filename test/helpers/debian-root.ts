/** A Debian root file system, made as examples/tiny does. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { PROJECT } from './namespaces.js';

/** It takes half a minute to make: it is kept, outside of the tree. Nobody writes to it. */
export const DEBIAN_BASE = '/var/cache/overlay-boot-test/debian';
/** With the services of a small server, those of examples/mta among them. */
export const DEBIAN_SERVICES = '/var/cache/overlay-boot-test/debian-server';
const SERVICES = [
  'rsyslog,orphan-sysvinit-scripts,cron,openssh-server,ifupdown,sudo,iputils-ping',
  'sasl2-bin,postfix,dovecot-imapd,openssl',
].join();
const MAKE_BASE_TIMEOUT_MS = 600_000;

/** For a `describe`: makes it where it is missing. To be called before the sandbox is made, which has no network. */
export function needDebianRoot(base: typeof DEBIAN_BASE | typeof DEBIAN_SERVICES = DEBIAN_BASE): void {
  before(function () {
    this.timeout(MAKE_BASE_TIMEOUT_MS);
    if (existsSync(base)) return;
    mkdirSync(dirname(base), { recursive: true });
    const env = { ...process.env, ...(base === DEBIAN_SERVICES && { PACKAGES: SERVICES }) };
    const made = spawnSync(join(PROJECT, 'examples/tiny/make-base'), [base], { encoding: 'utf8', env });
    if (made.status !== 0) throw new Error(`make-base: exit ${made.status}: ${made.stderr}`);
  });
}
