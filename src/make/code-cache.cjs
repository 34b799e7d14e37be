// Compiles the bundles in dist/ for the Node that runs this, whole: without that, V8 compiles each function when it
// is first called, which is half of the time a command takes. See bundle-stub.cjs, which uses what is made here.
//
// usage: node code-cache.cjs DIST
// The build makes the caches for its own Node, the Debian package for that of the machine it is installed on.
const {
  closeSync,
  fsyncSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} = require('node:fs');
const { join } = require('node:path');
const { setFlagsFromString } = require('node:v8');
const { Script } = require('node:vm');

/**
 * Makes the code cache of each bundle anew. Those of another Node go.
 * @param {string} dist
 */
function writeCodeCaches(dist) {
  for (const folder of readdirSync(dist, { withFileTypes: true })) {
    if (!folder.isDirectory()) continue;
    const files = readdirSync(join(dist, folder.name));
    for (const file of files.filter((name) => name.includes('.bundle.js.')))
      rmSync(join(dist, folder.name, file));
    for (const file of files.filter((name) => name.endsWith('.bundle.js')))
      writeCodeCache(join(dist, folder.name, file));
  }
}

/** @param {string} file */
function writeCodeCache(file) {
  const source = readFileSync(file, 'latin1');
  if (/[^\0-\x7f]/.test(source)) throw new Error(`${file} is not ASCII`);
  // The flags of when the cache is made are in it, and have to be those of when it is used.
  setFlagsFromString('--no-lazy');
  const script = new Script(source, { filename: file });
  setFlagsFromString('--lazy');
  // V8 does not see that the end of one is missing: what is in its place is whole, a power cut or not.
  const cache = `${file}.${process.version}-${process.arch}`;
  const fd = openSync(`${cache}.tmp`, 'w');
  writeFileSync(fd, script.createCachedData());
  fsyncSync(fd);
  closeSync(fd);
  renameSync(`${cache}.tmp`, cache);
}

module.exports = { writeCodeCaches };
if (require.main === module) writeCodeCaches(process.argv[2] ?? '');
