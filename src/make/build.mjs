// Builds dist/: the bundled commands (esbuild) and the static init program (musl-gcc).
// One bundle per command keeps the start quick; the outside packages stay in files of their own, loaded
// only on the path that uses them (see "doors" below).
import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeCodeCaches } from './code-cache.cjs';
import { licencesOf, packagesOf } from './licences.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const dist = join(root, 'dist');
/** Where this build is made: dist/ is replaced only by a whole one. */
const fresh = `${dist}.${process.pid}`;
const startedAt = new Date();
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));

/** Bundles of their own, required when first called for: the file for each outside package, and what few boots need. */
const doors = ['net/rtnetlink', 'sys/run', 'sys/pty', 'sys/usage', 'config/settings-file', 'launch/stop'];
const commands = readdirSync(join(root, 'src/cli'))
  .filter((file) => /^(overlay-|wafers|stacko|boxctl|mount\.)/.test(file))
  .map((file) => `cli/${file.replace(/\.ts$/, '')}`);

/** Compiles src/init/*.c, static and small. */
function buildInit() {
  const dir = join(root, 'src/init');
  const sources = readdirSync(dir)
    .filter((file) => file.endsWith('.c'))
    .map((file) => join(dir, file));
  const multiarch = execFileSync('gcc', ['-print-multiarch'], { encoding: 'utf8' }).trim();
  // musl-gcc does not see the kernel's headers; they come after its own, so that only linux/ and asm/ are found.
  const kernelHeaders = ['-idirafter', '/usr/include', '-idirafter', `/usr/include/${multiarch}`];
  const warnings = ['-Wall', '-Wextra', '-Werror'];
  // What would be in the file for nothing: tables for exceptions, position independence, half-empty pages.
  const unneeded = [
    '-fno-asynchronous-unwind-tables',
    '-fno-pie',
    '-no-pie',
    '-ffunction-sections',
    '-fdata-sections',
  ];
  const flags = ['-std=gnu17', '-Oz', '-flto', ...warnings, '-static', '-s', ...unneeded];
  // Without the last one, data begins on a page of its own, and the file has what is left of the one before.
  const link = [
    '--gc-sections',
    '-z,norelro',
    '-z,noseparate-code',
    '--build-id=none',
    '-z,common-page-size=64',
  ];
  const linker = link.map((option) => `-Wl,${option}`);
  execFileSync('musl-gcc', [...flags, ...kernelHeaders, ...sources, ...linker, '-o', join(fresh, 'init')], {
    stdio: 'inherit',
  });
  cutSections(join(fresh, 'init'));
}

/**
 * Takes away what comes after the last segment of a program of 64 bits, little endian: names and headers of sections,
 * a KiB that only linkers and debuggers read. elf(5)
 * @param {string} path
 */
function cutSections(path) {
  const bytes = readFileSync(path);
  if (bytes[4] !== 2 || bytes[5] !== 1) return;
  const [segments, size, count] = [
    Number(bytes.readBigUInt64LE(0x20)),
    bytes.readUInt16LE(0x36),
    bytes.readUInt16LE(0x38),
  ];
  const ends = Array.from({ length: count }, (_, i) => segments + i * size).map(
    (at) => Number(bytes.readBigUInt64LE(at + 0x08)) + Number(bytes.readBigUInt64LE(at + 0x20)),
  );
  bytes.fill(0, 0x28, 0x30).fill(0, 0x3a, 0x40);
  writeFileSync(path, bytes.subarray(0, Math.max(...ends)));
}

/**
 * An import() of a door stays a require() of its own file; every bundle lies in a folder of dist/.
 * @type {import('esbuild').Plugin}
 */
const doorsStayOutside = {
  name: 'doors',
  setup({ onResolve }) {
    onResolve({ filter: /^\.\.?\// }, ({ path, kind, resolveDir }) => {
      const name = relative(join(root, 'src'), join(resolveDir, path)).replace(/\.js$/, '');
      if (kind !== 'dynamic-import' || !doors.includes(name)) return undefined;
      return { path: `../${name}.js`, external: true };
    });
  },
};

async function buildCommands() {
  const { build } = await import('esbuild').catch((cause) => {
    throw new Error('esbuild is not there: run npm ci first', { cause });
  });
  const { metafile } = await build({
    absWorkingDir: root,
    metafile: true,
    entryPoints: [...doors, ...commands].map((name) => ({ in: `src/${name}.ts`, out: `${name}.bundle` })),
    outdir: fresh,
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'cjs',
    minifySyntax: true,
    minifyWhitespace: true,
    plugins: [doorsStayOutside],
    // Looks through folders for the native part, which lies at one place here.
    alias: { 'node-gyp-build': './src/make/prebuilt.cjs' },
    // A function of what a module is given: bundle-stub.cjs calls it.
    banner: { js: '(function(exports,require,module,__filename,__dirname){' },
    footer: { js: '})' },
    // node-pty has a terminal for each platform, and asks for the one it needs.
    define: { OVERLAY_BOOT_VERSION: JSON.stringify(version), 'process.platform': '"linux"' },
    // A require() of the door, not an import(): that would start Node's module loader for it.
    supported: { 'dynamic-import': false },
    logLevel: 'warning',
  });
  for (const name of [...doors, ...commands])
    copyFileSync(join(root, 'src/make/bundle-stub.cjs'), join(fresh, `${name}.js`));
  writeCodeCaches(fresh);
  const packages = packagesOf(Object.keys(metafile.inputs)).map((folder) => join(root, folder));
  writeFileSync(join(fresh, 'LICENCES'), licencesOf(packages));
  // netlink and node-pty look for their native parts in prebuilds/ one folder above the file that asks.
  cpSync(join(root, 'node_modules/netlink/prebuilds'), join(fresh, 'prebuilds'), { recursive: true });
  const native = join(fresh, 'prebuilds', `linux-${process.arch}`);
  mkdirSync(native, { recursive: true });
  copyFileSync(join(root, 'node_modules/node-pty/build/Release/pty.node'), join(native, 'pty.node'));
}

/**
 * @param {string} from
 * @param {string} to
 * @param {string} passOver  errno name of the failure that is none here
 * @returns {boolean} was it renamed?
 */
function renamed(from, to, passOver) {
  try {
    renameSync(from, to);
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === passOver) return false;
    throw error;
  }
}

/** Puts the finished build in the place of the one before, whoever builds at the same time. */
function replaceDist() {
  const before = `${fresh}.before`;
  let done = false;
  while (!done) {
    renamed(dist, before, 'ENOENT');
    done = renamed(fresh, dist, 'ENOTEMPTY'); // not empty: another build came between the two
    rmSync(before, { recursive: true, force: true });
  }
}

try {
  mkdirSync(fresh);
  buildInit();
  await buildCommands();
  // set-up.mjs compares its time with the sources': what changed during the build is not in it.
  writeFileSync(join(fresh, '.built'), `${version}\n`);
  utimesSync(join(fresh, '.built'), startedAt, startedAt);
  replaceDist();
} catch (error) {
  // The compilers have said what is wrong; a stack trace of this file would add nothing.
  if (process.env.OVERLAY_DEBUG === '1') console.error(error);
  const reason = error instanceof Error ? error.message : String(error);
  console.error(`build: ${reason.split('\n')[0]}`);
  process.exitCode = 1;
} finally {
  rmSync(fresh, { recursive: true, force: true });
}
