// Required before a command: runs a shell script right after each call of node:fs on a path, until that succeeds.
//   AFTER_CALL=renameSync AFTER_PATH=/points/web   the end of an argument
//   AFTER_RUN='cat /srv/gate'
const childProcess = require('node:child_process');
/** @type {any} */
const fs = require('node:fs');

const { AFTER_CALL = '', AFTER_PATH = '', AFTER_RUN = '', NODE_OPTIONS: _, ...env } = process.env;
const call = fs[AFTER_CALL];
const { spawnSync } = childProcess;
let done = false;

fs[AFTER_CALL] = (/** @type {unknown[]} */ ...args) => {
  const result = call.apply(fs, args);
  if (!done && args.some((arg) => typeof arg === 'string' && arg.endsWith(AFTER_PATH))) {
    const { status } = spawnSync('/bin/sh', ['-c', AFTER_RUN], { env, stdio: 'ignore' });
    done = status === 0;
  }
  return result;
};
