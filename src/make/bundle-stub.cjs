// Stands in the place of each bundle in dist/: runs NAME.bundle.js from the code cache that the build has made
// beside it, so that V8 need not compile it again. A cache of another Node is not found, one that V8 does not
// take is passed over; then it is compiled as any other file.
const { readFileSync } = require('node:fs');
const { Script } = require('node:vm');

const file = __filename.replace(/\.js$/, '.bundle.js');

function codeCache() {
  try {
    return readFileSync(`${file}.${process.version}-${process.arch}`);
  } catch {
    return undefined;
  }
}

// latin1: the bundle is ASCII, and is a function of what a module is given.
const script = new Script(readFileSync(file, 'latin1'), { filename: file, cachedData: codeCache() });
script.runInThisContext()(exports, require, module, file, __dirname);
