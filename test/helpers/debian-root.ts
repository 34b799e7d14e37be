/** A Debian root file system, made as examples/tiny does. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { PROJECT } from './namespaces.js';

/** It takes half a minute to make: it is kept, outside of the tree. Nobody writes to it. */
export const DEBIAN_BASE = '/var/cache/overlay-boot-test/debian';
const MAKE_BASE_TIMEOUT_MS = 600_000;

/** For a `describe`: makes it where it is missing. To be called before the sandbox is made, which has no network. */
export function needDebianRoot(): void {
  before(function () {
    this.timeout(MAKE_BASE_TIMEOUT_MS);
    if (existsSync(DEBIAN_BASE)) return;
    mkdirSync(dirname(DEBIAN_BASE), { recursive: true });
    const made = spawnSync(join(PROJECT, 'examples/tiny/make-base'), [DEBIAN_BASE], { encoding: 'utf8' });
    if (made.status !== 0) throw new Error(`make-base: exit ${made.status}: ${made.stderr}`);
  });
}
