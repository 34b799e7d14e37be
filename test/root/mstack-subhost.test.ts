import { expect } from 'chai';
import { useSandbox } from '../helpers/namespaces.js';

/** A subhost whose LOWER or STACK is a mount stack. */
describe('overlay-boot with a mount stack', () => {
  const sandbox = useSandbox();
  const sh = (script: string): Promise<string> => sandbox().sh(script);
  const boot = () => sandbox().run(['overlay-boot', '--mkdir', 's.conf']);

  beforeEach(() =>
    sh(`mkdir -p x.mstack/layer@0/bin x.mstack/layer@1; cd x.mstack/layer@0
      for d in dev etc proc root run sys tmp usr var; do mkdir $d; done
      cp "$(command -v busybox)" bin/busybox; for n in sh cat ls touch; do ln -s busybox bin/$n; done
      echo 0 >f; echo 1 >../layer@1/f`),
  );
  afterEach(async () => {
    await sandbox().run(['overlay-stop', '--kill', 's']);
    await sh('rm -rf ./*');
  });

  const booted = async (conf: string): Promise<void> => {
    await sandbox().writeFile('/srv/t/s.conf', `BASE=.\nSTART=none\n${conf}\n`);
    const { code, stderr } = await boot();
    expect({ code, stderr }).to.deep.equal({ code: 0, stderr: '' });
  };
  const inside = async (script: string): Promise<string> => {
    const { stdout, stderr } = await sandbox().run(['overlay-go', 's', 'sh', '-c', script]);
    return stdout + stderr;
  };

  it('has its layers as LOWER, and writes to UPPER', async () => {
    await booted('LOWER=x.mstack');
    expect(await inside('cat /f; echo up >/f; cat /f')).to.equal('1\nup\n');
    expect(await sh('cat x.mstack/layer@1/f root/f')).to.equal('1\nup\n');
  });

  it('has rw/data as the top layer of LOWER, and writes nothing there', async () => {
    await sh('mkdir -p x.mstack/rw/data; echo rw >x.mstack/rw/data/f');
    await booted('LOWER=x.mstack');
    expect(await inside('cat /f; echo up >/f')).to.equal('rw\n');
    expect(await sh('cat x.mstack/rw/data/f; ls x.mstack/rw')).to.equal('rw\ndata\n');
  });

  it('has a STACK as the whole root', async () => {
    await sh('mkdir -p x.mstack/rw x.mstack/bind@var x.mstack/robind@srv; echo b >x.mstack/robind@srv/g');
    await booted('STACK=x.mstack');
    expect(await inside('cat /f /srv/g; echo up >/f; echo v >/var/f; echo x >/srv/f')).to.match(
      /^1\nb\n.*Read-only file system\n$/,
    );
    expect(await sh('cat x.mstack/rw/data/f x.mstack/bind@var/f')).to.equal('up\nv\n');
  });

  it('has nothing in the rw of its STACK when a boot has failed that had to make data and work there', async () => {
    await sh(
      'mkdir x.mstack/rw; mkdir x.mstack/layer@0/file.d; echo >x.mstack/layer@0/file.d/f; mkdir shared',
    );
    await sandbox().writeFile(
      '/srv/t/s.conf',
      'BASE=.\nSTART=none\nSTACK=x.mstack\nSHARE=shared:/srv/new\nSHARE=shared:/file.d/f\n',
    );
    const { code, stderr } = await boot();
    expect([code, stderr]).to.satisfy(([, text]: [number, string]) => /shared at \/file\.d\/f/.test(text));
    expect(code).to.equal(1);
    expect(await sh('ls -A x.mstack/rw')).to.equal('');
  });

  const refusals: readonly [title: string, script: string, conf: string, message: RegExp][] = [
    [
      'a root in LOWER',
      'mkdir x.mstack/root',
      'LOWER=x.mstack',
      /s\.conf: LOWER: "root" of a mount stack is of no use/,
    ],
    [
      'a mistake in the stack',
      'mkdir x.mstack/notes',
      'STACK=x.mstack',
      /s\.conf: STACK: .*x\.mstack: "notes" is no name of an entry/,
    ],
    ['a stack that is not there', 'true', 'STACK=gone.mstack', /STACK: .*gone\.mstack/],
  ];
  for (const [title, script, conf, message] of refusals)
    it(`refuses ${title}, and names the variable`, async () => {
      await sh(script);
      await sandbox().writeFile('/srv/t/s.conf', `BASE=.\nSTART=none\n${conf}\n`);
      const { code, stderr } = await boot();
      expect(code).to.equal(2);
      expect(stderr).to.match(message);
    });
});
