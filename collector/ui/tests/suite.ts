// Before all test files: a folder for what several of them need and nobody changes, and one Chromium. Afterwards both go.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { launchForAll } from './start.mjs';

declare module 'vitest' {
  interface ProvidedContext {
    suiteFolder: string;
    chromium: string;
  }
}

export default async function suite(project: TestProject) {
  const folder = mkdtempSync(join(tmpdir(), 'ggscope-suite-'));
  const chromium = await launchForAll();
  project.provide('suiteFolder', folder);
  project.provide('chromium', chromium.wsEndpoint());
  return async () => {
    await chromium.close();
    rmSync(folder, { recursive: true, force: true });
  };
}
