import { existsSync } from 'node:fs';
import { expect } from 'chai';
import { eventually, PROJECT, type Sandbox, useSandbox } from '../helpers/namespaces.js';

const PATH = '/usr/sbin:/usr/bin:/sbin:/bin';

/** Calls bringUp or bringDown in the sandbox; gives its result or its message. */
async function call(sandbox: Sandbox, name: 'bringUp' | 'bringDown', interfaceName: string): Promise<string> {
  const script = `
    const { ${name} } = require(${JSON.stringify(`${PROJECT}/src/launch/ifupdown.ts`)});
    ${name}(${JSON.stringify(interfaceName)}, { path: '${PATH}', timeoutMs: 10_000 })
      .catch((error) => error.message)
      .then((text) => process.stdout.write(text));`;
  const { stdout, stderr } = await sandbox.run(['node', '--import=tsx', '-e', script], { cwd: PROJECT });
  expect(stderr).to.equal('');
  return stdout;
}

describe('the ifup of this machine', () => {
  const sandbox = useSandbox();

  before(async function () {
    if (!PATH.split(':').some((directory) => existsSync(`${directory}/ifup`))) this.skip();
    await sandbox().sh('ip link add web0 type veth peer name x');
    await sandbox().writeFile(
      '/etc/network/interfaces',
      `iface web0 inet static
  address 10.9.0.1/24
iface x inet manual
  up echo there is no gateway >&2; false
`,
    );
  });

  const addresses = (): Promise<string> => sandbox().sh('ip -br -4 address show web0');

  it('brings up an interface that has a stanza', async () => {
    expect(await call(sandbox(), 'bringUp', 'web0')).to.equal('up');
    expect(await addresses()).to.include('10.9.0.1/24');
  });

  it('configures a new interface too when the one before was not taken down', async () => {
    await sandbox().sh('ip link del web0; ip link add web0 type veth peer name x');
    expect(await call(sandbox(), 'bringUp', 'web0')).to.equal('up');
    expect(await addresses()).to.include('10.9.0.1/24');
  });

  it('takes it down again, also when it is down already', async () => {
    expect(await call(sandbox(), 'bringDown', 'web0')).to.equal('down');
    await eventually('no address', async () => !(await addresses()).includes('10.9'));
    expect(await call(sandbox(), 'bringDown', 'web0')).to.equal('down');
  });

  it('tells that there is no stanza', async () => {
    expect(await call(sandbox(), 'bringUp', 'web1')).to.equal('no-stanza');
    expect(await call(sandbox(), 'bringDown', 'web1')).to.equal('no-stanza');
  });

  it('hands on what a failing stanza said', async () => {
    const message = await call(sandbox(), 'bringUp', 'x');
    expect(message).to.match(
      /\/ifup -f x: exit status 1: .*there is no gateway.*: see \/etc\/network\/interfaces$/,
    );
  });
});
