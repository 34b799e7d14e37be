/**
 * For mocha: makes the images that are missing and brings the emulator, once and before the tests that run side by side ask
 * for the same ones.
 */
import { findEmulator } from './emulator.js';
import { imageFor } from './image.js';

export async function mochaGlobalSetup(): Promise<void> {
  await Promise.all([imageFor('systemd'), imageFor('sysvinit'), findEmulator()]);
}
