// Loaded into a command of ours by NODE_OPTIONS=--require: at its end it writes to stderr how many KiB it had resident at most.
'use strict';
process.on('exit', () => process.stderr.write(`${process.resourceUsage().maxRSS}\n`));
