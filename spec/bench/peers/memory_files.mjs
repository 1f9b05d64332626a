// memory_files.mjs: the reference's files in memory, re-created from a description of how they behave (a map from
// whole paths to nodes), under the same load as ours/memory_files.lua. It has no snapshots: copying the map
// is what it would take.
import { batches } from '../measure.mjs';
import { globToRegExp } from './reference.mjs';

const FILES = 10000;

class MemoryFiles {
  nodes = new Map([['/', { kind: 'directory' }]]);

  normalise(path) {
    if (!path.startsWith('/')) throw new Error('invalid_path');
    const parts = [];
    for (const part of path.split('/')) {
      if (part === '' || part === '.') continue;
      if (part === '..') parts.pop();
      else parts.push(part);
    }
    return `/${parts.join('/')}`;
  }

  async write(given, data) {
    const path = this.normalise(given);
    const parts = path.split('/').slice(1, -1);
    let above = '';
    for (const part of parts) {
      above += `/${part}`;
      if (!this.nodes.has(above)) this.nodes.set(above, { kind: 'directory', modifiedAt: new Date() });
    }
    this.nodes.set(path, { kind: 'file', data: Buffer.from(data), modifiedAt: new Date() });
  }

  async readText(given) {
    const node = this.nodes.get(this.normalise(given));
    if (node?.kind !== 'file') throw new Error('fs_failed');
    return node.data.toString('utf8');
  }

  async list(given, { recursive = false, glob } = {}) {
    const root = this.normalise(given);
    const base = root === '/' ? '/' : `${root}/`;
    const expression = glob ? globToRegExp(glob) : undefined;
    const entries = [];
    for (const [path, node] of this.nodes) {
      if (!path.startsWith(base) || path === '/') continue;
      const rest = path.slice(base.length);
      if (!recursive && rest.includes('/')) continue;
      if (expression && !expression.test(path)) continue;
      const entry = { name: rest.slice(rest.lastIndexOf('/') + 1), path, kind: node.kind };
      if (node.kind === 'file') entry.size = node.data.length;
      entries.push(entry);
    }
    return entries.sort((a, b) => a.path.localeCompare(b.path));
  }

  snapshot() {
    return new Map(this.nodes);
  }
}

const files = new MemoryFiles();
const paths = Array.from({ length: FILES }, (_, i) => `/workspace/dir_${(i + 1) % 100}/file_${i + 1}.lua`);
const content = 'x'.repeat(100);

await batches('write', FILES, async (n) => {
  for (let i = 0; i < n; i++) await files.write(paths[i], content);
});
await batches('read', FILES, async (n) => {
  for (let i = 0; i < n; i++) await files.readText(paths[i]);
});
await batches('list', 1, async (n) => {
  for (let i = 0; i < n; i++) await files.list('/workspace', { recursive: true });
});
await batches('glob', 1, async (n) => {
  for (let i = 0; i < n; i++) await files.list('/workspace', { recursive: true, glob: '*77.lua' });
});
await batches('snapshot', 100, async (n) => {
  for (let i = 0; i < n; i++) {
    files.snapshot();
    await files.write(paths[i], content);
  }
});
