// Required before a command: kills it just before the N-th call that changes a file or starts a program.
//   DIE_AT=N      0 or nothing: it lives, and the number of calls is written to DIE_COUNT
//   DIE_BY=NAME   the signal; SIGKILL unless given
const childProcess = require('node:child_process');
const fs = require('node:fs');

const CHANGES = [
  'chmodSync',
  'chownSync',
  'closeSync',
  'fsyncSync',
  'mkdirSync',
  'renameSync',
  'rmSync',
  'rmdirSync',
  'symlinkSync',
  'writeFileSync',
];
const { DIE_AT, DIE_COUNT, DIE_BY = 'SIGKILL' } = process.env;
const write = fs.writeFileSync;
let calls = 0;

/**
 * @param {any} target
 * @param {string} name
 */
function counted(target, name) {
  const call = target[name];
  target[name] = (/** @type {unknown[]} */ ...args) => {
    calls++;
    if (calls === Number(DIE_AT)) process.kill(process.pid, DIE_BY);
    return call.apply(target, args);
  };
}

for (const name of CHANGES) counted(fs, name);
counted(childProcess, 'spawn');
if (DIE_COUNT) process.on('exit', () => write(DIE_COUNT, String(calls)));
