// glob.mjs reference|picomatch: the paths of build/bench/paths.txt, and the hostile pattern as far
// as it ends in seconds.
import { readFileSync } from 'node:fs';
import { batches, cpuUs, peer, report, value, wallUs } from '../measure.mjs';
import { globToRegExp } from './reference.mjs';

const PATTERNS = ['/src/**/*.ts', '**/*.md', '/lib/*/file1?.js', '/**/test/**', '*file99*.json'];
const paths = readFileSync('build/bench/paths.txt', 'utf8').trim().split('\n');

const kind = process.argv[2];
const picomatch = kind === 'picomatch' ? (await peer('picomatch')).default : undefined;
const compile = picomatch
  ? (glob) => picomatch(glob, { dot: true })
  : (glob) => {
      const expression = globToRegExp(glob);
      return (path) => expression.test(path);
    };

const matchers = PATTERNS.map(compile);
let hits = 0;
await batches('path', paths.length * PATTERNS.length, () => {
  hits = 0;
  for (const match of matchers) for (const path of paths) if (match(path)) hits++;
});
value('hits', hits);

for (const [name, pattern, end] of [
  ['hostile', '*a*a*a*a*a*b', ''],
  ['hostile_end', '*a*a*a*a*c*b', 'b'],
]) {
  const match = compile(pattern);
  match('aaaaaaaa');
  for (const length of [64, 128]) {
    const text = 'a'.repeat(length - end.length) + end;
    const w = wallUs();
    const c = cpuUs();
    match(text);
    report(`${name}_${length}`, wallUs() - w, cpuUs() - c);
  }
}
