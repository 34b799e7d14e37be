/** What the emulated machines need from Debian's archive: each thing is made once, and kept for the next run. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { errnoOf } from '../../src/errors.js';

const CACHE = '/var/cache/overlay-boot-test/vm';
/** What another recipe made goes when it is older; a younger one may be another checkout's, or still in use. */
const UNUSED_MS = 24 * 3600_000;

/** Debian's release on the machines, and of the emulator. */
const SUITE = 'trixie';

/**
 * The directory that `make` has filled, at once if it was so before. Another one is made when the text of one of `recipe`,
 * the files that say what is in it, or of this one has changed.
 */
export async function kept(
  name: string,
  recipe: readonly string[],
  make: (dir: string) => Promise<void>,
): Promise<string> {
  const texts = [...recipe, __filename].map((file) => readFileSync(file, 'utf8')).join('\0');
  const version = createHash('sha256').update(texts).digest('hex').slice(0, 12);
  const dir = join(CACHE, `${name}-${version}`);
  if (existsSync(dir)) return dir;
  mkdirSync(CACHE, { recursive: true });
  for (const old of readdirSync(CACHE).map((entry) => join(CACHE, entry)))
    if (Date.now() - statSync(old).mtimeMs > UNUSED_MS) rmSync(old, { recursive: true, force: true });
  const fresh = mkdtempSync(join(CACHE, `making-${name}-`));
  try {
    await make(fresh);
    renameSync(fresh, dir);
  } catch (error) {
    if (errnoOf(error) !== 'ENOTEMPTY') throw error; // else somebody else was faster
  } finally {
    rmSync(fresh, { recursive: true, force: true });
  }
  return dir;
}

/** What it prints. @throws Error with what it wrote to stderr */
export async function run(program: string, ...args: readonly string[]): Promise<Buffer> {
  const { stdout } = await promisify(execFile)(program, args, { encoding: 'buffer', maxBuffer: 2 ** 28 });
  return stdout;
}

/** A root of Debian's packages in `root`, as mmdebstrap(1) makes it with `options`, without an initrd. */
export async function debootstrap(
  root: string,
  packages: readonly string[],
  options: readonly string[],
): Promise<void> {
  archive ??= findArchive();
  const program = ['INITRD=No', 'mmdebstrap', '--quiet', '--format=directory'];
  await run('env', ...program, ...options, `--include=${packages.join(',')}`, SUITE, root, await archive);
}

/** Asked for once: two calls of apt-get could be in each other's way. */
let archive: Promise<string> | undefined;

/** The Debian archive that the host's apt uses: it has every release. */
async function findArchive(): Promise<string> {
  const ask = ['indextargets', '--format', '$(REPO_URI)', 'Created-By: Packages', 'Label: Debian'];
  const uris = async (): Promise<string> => (await run('apt-get', ...ask)).toString();
  if ((await uris()) === '') await run('apt-get', '-q', 'update', '-o', 'APT::Update::Error-Mode=any'); // its label is in the lists
  const [uri] = (await uris()).split('\n');
  if (!uri)
    throw new Error(
      "apt-get indextargets: the host has no source of Debian's archive: add one, sources.list(5)",
    );
  return uri;
}
