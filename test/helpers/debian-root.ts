/** A Debian root file system, made as examples/tiny does. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { PROJECT, type Sandbox } from './namespaces.js';

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

/**
 * The root of needDebianRoot() where the sandbox sees it as it is: its own /var is an overlay, on which a subhost's may be
 * one too many. Files are linked where they can be; to be used as a LOWER, and by no test that writes to it.
 * @returns its path
 */
export async function debianRoot(sandbox: Sandbox): Promise<string> {
  const path = join(sandbox.diskdir, 'debian');
  const copy = (options: string): number | null =>
    spawnSync('cp', [options, DEBIAN_SERVICES, path], { stdio: 'ignore' }).status;
  if (copy('-al') === 0) return path;
  await sandbox.sh(`rm -rf ${path}; cp -a ${DEBIAN_SERVICES} ${path}`, { timeoutMs: 120_000 });
  return path;
}
