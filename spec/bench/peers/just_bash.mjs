// just_bash.mjs: `echo hi` in just-bash, a bash written in TypeScript that runs in this process, on files in memory.
import { batches, peer } from '../measure.mjs';

const { Bash } = await peer('just-bash');
const bash = new Bash();

await batches('exec', 300, async (n) => {
  for (let i = 0; i < n; i++) {
    const ended = await bash.exec('echo hi');
    if (ended.stdout !== 'hi\n') throw new Error(ended.stderr);
  }
});
