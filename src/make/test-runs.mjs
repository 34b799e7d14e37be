/** The mocha runs of npm test, and how their counts become one line. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readIfThere } from './host.mjs';
import { environment, top } from './set-up.mjs';
import { attempt } from './shell.mjs';

/** @typedef {import('./lint.mjs').Counts} Counts */

/**
 * What a mocha run amounts to. A run that failed without a failed test (no file found, a file that does not
 * load, a crash half-way) counts as one failure more: nobody can say what else would have failed.
 * @param {string} counts  what counting-reporter.cjs wrote; empty when it did not come that far
 * @param {boolean} ok  did mocha exit 0?
 * @returns {Counts}
 */
export function countsOfRun(counts, ok) {
  const { passed, failed, skipped } =
    counts === '' ? { passed: 0, failed: 0, skipped: 0 } : JSON.parse(counts);
  const unseen = (counts === '' || !ok) && failed === 0 ? 1 : 0;
  return { passed, failed: failed + unseen, skipped };
}

/**
 * @param {readonly Counts[]} all
 * @returns {Counts}
 */
export function addUp(all) {
  const sum = (/** @type {keyof Counts} */ key) => all.reduce((total, counts) => total + counts[key], 0);
  return { passed: sum('passed'), failed: sum('failed'), skipped: sum('skipped') };
}

/**
 * `12 passed, 0 failed`, and what was skipped where something was.
 * @param {Counts} counts
 */
export function inWords({ passed, failed, skipped }) {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`;
}

/**
 * Of mocha, by folder of test/: the machines of test/vm run side by side, each has one processor.
 * @type {Readonly<Record<string, readonly string[]>>}
 */
const optionsOf = { vm: ['--require', 'test/vm/images-first.ts', '--parallel', '--jobs=3'] };

/**
 * Runs mocha over one folder of test/.
 * @param {string} folder
 * @returns {Counts}
 */
export function mochaRun(folder) {
  const options = optionsOf[folder] ?? [];
  const dir = mkdtempSync(join(tmpdir(), 'overlay-boot-counts-'));
  const countsFile = join(dir, 'counts.json');
  const spec = `test/${folder}/**/*.test.ts`;
  try {
    const { ok } = attempt(
      [
        process.execPath,
        join(top, 'node_modules/mocha/bin/mocha.js'),
        '--reporter',
        join(top, 'src/make/counting-reporter.cjs'),
        ...options,
        spec,
      ],
      {
        cwd: top,
        env: { ...environment, OVERLAY_MUST_RUN: '1', OVERLAY_TEST_COUNTS: countsFile },
        typed: ['npx mocha', ...options, `'${spec}'`].join(' '),
      },
    );
    return countsOfRun(readIfThere(countsFile), ok);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
