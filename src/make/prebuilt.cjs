// In the bundles: the native part of a package, from prebuilds/ of the directory that it names.
const { join } = require('node:path');

/** @param {string} dir */
module.exports = (dir) =>
  require(join(dir, 'prebuilds', `${process.platform}-${process.arch}`, 'node.napi.node'));
