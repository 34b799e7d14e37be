/** The licences of what the build puts into dist/ beside our own code. Node's own modules only. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const musl = '/usr/share/doc/musl/copyright';

/**
 * The folders of the packages that the files are of, sorted.
 * @param {readonly string[]} files  `node_modules/execa/index.js`
 */
export function packagesOf(files) {
  const folders = files.flatMap((file) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(file)?.[0] ?? []);
  return [...new Set(folders)].sort();
}

/**
 * The text of dist/LICENCES: each package with its version and its licence as it has it.
 * @param {readonly string[]} packages  absolute folders
 * @throws Error for a package without a licence's text
 */
export function licencesOf(packages) {
  const ours = packages.map((folder) => {
    const { name, version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
    const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
    if (file === undefined) throw new Error(`${name} has no file with its licence`);
    return section(`${name} ${version}, ${license}`, readFileSync(join(folder, file), 'utf8'));
  });
  // The init program is linked with it.
  const libc = existsSync(musl) ? [section('musl libc, MIT', readFileSync(musl, 'utf8'))] : [];
  return [...ours, ...libc].join('\n');
}

/**
 * @param {string} title
 * @param {string} text
 */
const section = (title, text) => `== ${title}\n\n${text.replace(/[ \t\r]+$/gm, '').trim()}\n`;
