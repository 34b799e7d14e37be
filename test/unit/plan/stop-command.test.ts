import { spawnSync } from 'node:child_process';
import { expect } from 'chai';
import { stopCommand } from '../../../src/plan/start-script.js';

describe('stopCommand', () => {
  it('stops an absolute path by calling it', () => {
    expect(stopCommand('/startup')).to.deep.equal(['/startup', 'stop']);
  });

  /** With a PATH that has no service(8), what is not in /etc/init.d cannot be stopped. */
  const status = (passOverMissing: boolean): number | null => {
    const [shell = '', ...words] = stopCommand('no-such-service', passOverMissing);
    return spawnSync(shell, words, { env: { PATH: '/nowhere' } }).status;
  };

  it('passes over a service of the default START that the root does not have', () => {
    expect(status(true)).to.equal(0);
  });

  it('fails for a service of a given START that is gone', () => {
    expect(status(false)).to.equal(127);
  });
});
