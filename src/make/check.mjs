// npm run check: lint alone, with what is installed.
import { lint } from './lint.mjs';
import { runMake } from './shell.mjs';

runMake('npm run check', () => (lint().failed === 0 ? 0 : 1));
