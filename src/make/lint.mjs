/** The lint checks: type check, biome, shellcheck. They need node_modules, and are started as programs. */
import { closeSync, existsSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { isThere } from './host.mjs';
import { environment, filesBelow, top } from './set-up.mjs';
import { attempt, say } from './shell.mjs';

/** @typedef {{ readonly passed: number, readonly failed: number, readonly skipped: number }} Counts */

/** Where shell scripts may lie. */
const shellDirs = ['.ci', 'bin', 'conf.d', 'examples', 'src', 'test'];

/**
 * Runs every check, also after one has failed; each counts as one.
 * @returns {Counts}
 */
export function lint() {
  const local = (/** @type {string} */ file) => [process.execPath, join(top, 'node_modules', file)];
  const checks = [
    { typed: 'npx tsc -p .', argv: [...local('typescript/bin/tsc'), '-p', '.'] },
    {
      typed: 'npx biome check',
      argv: [...local('@biomejs/biome/bin/biome'), 'check', '--error-on-warnings'],
    },
    ...shellCheck(),
  ];
  const failed = checks.filter(({ argv, typed }) => !attempt(argv, { cwd: top, env: environment, typed }).ok);
  for (const { typed } of failed) say(`failed: ${typed}`);
  return { passed: checks.length - failed.length, failed: failed.length, skipped: 0 };
}

function shellCheck() {
  const scripts = shellDirs
    .filter((dir) => existsSync(join(top, dir)))
    .flatMap((dir) => filesBelow(join(top, dir)).map((file) => join(dir, file)))
    .filter((file) => isShellScript(join(top, file)));
  if (!isThere('shellcheck', environment.PATH)) {
    say('shellcheck is not installed: the shell scripts are not checked (npm test brings it)');
    return [];
  }
  return [{ typed: 'shellcheck SCRIPTS', argv: ['shellcheck', ...scripts] }];
}

/**
 * Does the file start with a `#!` line of a shell?
 * @param {string} file
 */
function isShellScript(file) {
  const head = Buffer.alloc(64);
  const descriptor = openSync(file, 'r');
  try {
    const length = readSync(descriptor, head);
    return /^#! ?\/bin\/(sh|bash)\b/.test(head.toString('latin1', 0, length));
  } finally {
    closeSync(descriptor);
  }
}
