// Loaded into a command of ours by NODE_OPTIONS=--require: puts another program between it and the init
// program. The commands themselves know nothing of it.
//
// WRAP_INIT={"mode":"launch","wrapper":["PROGRAM","ARGUMENT"]}: `init launch` is started as
// `PROGRAM ARGUMENT init launch`
'use strict';
const childProcess = require('node:child_process');

const { mode, wrapper } = JSON.parse(process.env.WRAP_INIT ?? '{}');
for (const name of ['NODE_OPTIONS', 'WRAP_INIT']) delete process.env[name];

const { spawn } = childProcess;
/** @type {(file: string, args: readonly string[], options: import('node:child_process').SpawnOptions) => unknown} */
const wrappedSpawn = (file, args, options) => {
  const wrap = file.endsWith('/dist/init') && args[0] === mode;
  const [program, ...rest] = wrap ? [...wrapper, file, ...args] : [file, ...args];
  return spawn(program, rest, options);
};
Object.assign(childProcess, { spawn: wrappedSpawn });
