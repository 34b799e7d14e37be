/** A wafer as a subhost's root: one writable layer has one user, whoever comes first. */
import { expect } from 'chai';
import { PROJECT, useSandbox } from '../helpers/namespaces.js';

describe('a subhost on a wafer', () => {
  const sandbox = useSandbox();
  const sh = (script: string): Promise<string> => sandbox().sh(script);
  const run = async (...argv: readonly string[]) => {
    const { code, stdout, stderr } = await sandbox().run(argv);
    return { code, stdout, stderr };
  };

  before(async () => {
    await sh(`mkdir -p /var/lib/wafers
      mount -t tmpfs tmpfs /var/lib/wafers
      mkdir /var/lib/wafers/base
      ${PROJECT}/examples/tiny/make-base --busybox /var/lib/wafers/base/data
      wafers stack one base
      wafers unstack one
      mkdir -p /opt/subhost/one
      printf '%s\\n' BASE=. STACK=one START=none >/opt/subhost/one/one.conf`);
  });

  it('boots from it, and writes to its data', async () => {
    await sh('overlay-boot --mkdir /opt/subhost/one/one.conf; overlay-go one sh -c "echo inside >/etc/made"');
    expect(await sh('cat /var/lib/wafers/one/data/etc/made')).to.equal('inside\n');
  });

  it('keeps wafers from stacking it meanwhile', async () => {
    expect(await run('wafers', 'stack', 'one')).to.deep.equal({
      code: 1,
      stdout: '',
      stderr:
        'wafers: prepare /var/lib/wafers/one/work: Resource temporarily unavailable: another root has it mounted\n',
    });
    expect(await sh('ls -A /var/lib/machines')).to.equal('');
    await sh('overlay-stop one');
    expect(await run('wafers', 'stack', 'one')).to.include({
      stdout: '2 wafers stacked at /var/lib/machines/one\n',
    });
  });

  it('does not boot while it is stacked, and empties no work directory that is in use', async () => {
    const { code, stderr } = await run('overlay-boot', '/opt/subhost/one/one.conf');
    expect(code).to.equal(1);
    expect(stderr).to.include('/var/lib/wafers/one/work').and.to.include('the host has it mounted');
    expect(await sh('ls -A /var/lib/wafers/one/work; cat /var/lib/machines/one/etc/made')).to.equal(
      'work\ninside\n',
    );
    await sh('wafers unstack one; overlay-boot /opt/subhost/one/one.conf; overlay-stop one');
  });
});
