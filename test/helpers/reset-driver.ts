/** Runs in a sandbox, bundled by resetProgram(): `reset POINT IMAGE` on the store of WAFERS and STACKS, as a command. */
import { resetInstance } from '../../src/launch/store-points.js';

const [point = '', image = ''] = process.argv.slice(2);
const { WAFERS: wafers = '', STACKS: stacks = '' } = process.env;

process.umask(0o022);
resetInstance({ wafers, stacks }, point, image).catch((error: Error) => {
  process.stderr.write(`reset: ${error.message}\n`);
  process.exitCode = 1;
});
