/**
 * Architectures: systemd's names (systemd.unit(5), ConditionArchitecture=), which a `.v` directory uses, and
 * the GPT partition types of each (UAPI.2 Discoverable Partitions Specification).
 */
import { endianness, machine } from 'node:os';

/** All of systemd's names: what may stand for an architecture in a file's name. */
const NAMES: ReadonlySet<string> = new Set(
  [
    'alpha arc arc-be arm arm-be arm64 arm64-be cris ia64 loongarch64 m68k',
    'mips mips-le mips64 mips64-le nios2 parisc parisc64 ppc ppc-le ppc64 ppc64-le',
    'riscv32 riscv64 s390 s390x sh sh64 sparc sparc64 tilegx x86 x86-64',
  ].flatMap((line) => line.split(' ')),
);

/** What uname(2) calls a machine, where systemd's name is another. */
const BY_MACHINE: readonly (readonly [RegExp, string])[] = [
  [/^x86_64$/, 'x86-64'],
  [/^i[3-6]86$/, 'x86'],
  [/^aarch64$/, 'arm64'],
  [/^aarch64_be$/, 'arm64-be'],
  [/^arm.*b$/, 'arm-be'],
  [/^arm/, 'arm'],
  [/^ppc64le$/, 'ppc64-le'],
  [/^ppcle$/, 'ppc-le'],
  [/^arceb$/, 'arc-be'],
  [/^sh[0-9]*[a-z]*$/, 'sh'],
];

export const isArchitecture = (name: string): boolean => NAMES.has(name);

/** systemd's name of an architecture that uname(2) names, or that name itself. */
export function architectureOf(machineName: string, order: 'LE' | 'BE' = 'LE'): string {
  // The kernel calls both byte orders of MIPS the same.
  if (/^mips(64)?$/.test(machineName)) return order === 'LE' ? `${machineName}-le` : machineName;
  if (NAMES.has(machineName)) return machineName;
  return BY_MACHINE.find(([pattern]) => pattern.test(machineName))?.[1] ?? machineName;
}

/** This machine's. */
export const localArchitecture = (): string => architectureOf(machine(), endianness());

interface PartitionTypes {
  readonly root: string;
  readonly usr: string;
}

const PARTITION_TYPES: Readonly<Record<string, PartitionTypes>> = {
  alpha: { root: '6523f8ae-3eb1-4e2a-a05a-18b695ae656f', usr: 'e18cf08c-33ec-4c0d-8246-c6c6fb3da024' },
  arc: { root: 'd27f46ed-2919-4cb8-bd25-9531f3c16534', usr: '7978a683-6316-4922-bbee-38bff5a2fecc' },
  arm: { root: '69dad710-2ce4-4e3c-b16c-21a1d49abed3', usr: '7d0359a3-02b3-4f0a-865c-654403e70625' },
  arm64: { root: 'b921b045-1df0-41c3-af44-4c6f280d3fae', usr: 'b0e01050-ee5f-4390-949a-9101b17104e9' },
  ia64: { root: '993d8d3d-f80e-4225-855a-9daf8ed7ea97', usr: '4301d2a6-4e3b-4b2a-bb94-9e0b2c4225ea' },
  loongarch64: {
    root: '77055800-792c-4f94-b39a-98c91b762bb6',
    usr: 'e611c702-575c-4cbe-9a46-434fa0bf7e3f',
  },
  m68k: { root: '0cf191c8-3b54-433a-b715-68c6fa4086de', usr: 'a639b810-a02d-44bc-b579-d23e7bffdede' },
  mips: { root: 'e9434544-6e2c-47cc-bae2-12d6deafb44c', usr: '773b2abc-2a99-4398-8bf5-03baac40d02b' },
  mips64: { root: 'd113af76-80ef-41b4-bdb6-0cff4d3d4a25', usr: '57e13958-7331-4365-8e6e-35eeee17c61b' },
  'mips-le': { root: '37c58c8a-d913-4156-a25f-48b1b64e07f0', usr: '0f4868e9-9952-4706-979f-3ed3a473e947' },
  'mips64-le': { root: '700bda43-7a34-4507-b179-eeb93d7a7ca3', usr: 'c97c1f32-ba06-40b4-9f22-236061b08aa8' },
  parisc: { root: '1aacdb3b-5444-4138-bd9e-e5c2239b2346', usr: 'dc4a4480-6917-4262-a4ec-db9384949f25' },
  ppc: { root: '1de3f1ef-fa98-47b5-8dcd-4a860a654d78', usr: '7d14fec5-cc71-415d-9d6c-06bf0b3c3eaf' },
  ppc64: { root: '912ade1d-a839-4913-8964-a10eee08fbd2', usr: '2c9739e2-f068-46b3-9fd0-01c5a9afbcca' },
  'ppc64-le': { root: 'c31c45e6-3f39-412e-80fb-4809c4980599', usr: '15bb03af-77e7-4d4a-b12b-c0d084f7491c' },
  riscv32: { root: '60d5a7fe-8e7d-435c-b714-3dd8162144e1', usr: 'b933fb22-5c3f-4f91-af90-e2bb0fa50702' },
  riscv64: { root: '72ec70a6-cf74-40e6-bd49-4bda08e8f224', usr: 'beaec34b-8442-439b-a40b-984381ed097d' },
  s390: { root: '08a7acea-624c-4a20-91e8-6e0fa67d23f9', usr: 'cd0f869b-d0fb-4ca0-b141-9ea87cc78d66' },
  s390x: { root: '5eead9a9-fe09-4a1e-a1d7-520d00531306', usr: '8a4f5770-50aa-4ed3-874a-99b710db6fea' },
  sh: { root: '7b8f86b1-397a-4e1c-9eb0-850983baedc4', usr: '0b6d8f08-1548-4183-a6fa-22fe95bc5422' },
  sparc64: { root: 'f7b4d167-1e51-42a9-8151-ec96c2e99478', usr: 'db8ce399-787c-460a-80e3-69104c1ce375' },
  tilegx: { root: 'c50cdd70-3862-4cc3-90e1-809a8c93ee2c', usr: '55497029-c7c1-44cc-aa39-815ed1558630' },
  x86: { root: '44479540-f297-41b2-9af7-d131d5f0458a', usr: '75250d76-8cc6-458e-bd66-bd47cc81a812' },
  'x86-64': { root: '4f68bce3-e8cd-4db1-96e7-fbcaf984b709', usr: '8484680c-9521-48c6-9c11-b0720656f69e' },
};

const GENERIC_TYPE = '0fc63daf-8483-4772-8e79-3d69d8477de4';

/** What a GPT partition's type says it is for; undefined for what is no root, usr or Linux data partition. */
export type PartitionUse =
  | { readonly use: 'root' | 'usr'; readonly architecture: string }
  | { readonly use: 'generic' };

/** @param type  the type's GUID, lower case */
export function partitionUse(type: string): PartitionUse | undefined {
  if (type === GENERIC_TYPE) return { use: 'generic' };
  for (const [architecture, { root, usr }] of Object.entries(PARTITION_TYPES)) {
    if (type === root) return { use: 'root', architecture };
    if (type === usr) return { use: 'usr', architecture };
  }
  return undefined;
}
