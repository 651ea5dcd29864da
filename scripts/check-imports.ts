// The import rules of the house: who may import whom. Fails with one line per forbidden import.
import { globSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'

const root = join(import.meta.dirname, '..')
const rooms = [
  'git-gateway',
  'build-workers',
  'registry',
  'sandbox',
  'proxy',
  'cli',
  'test',
  'bench',
  'demo',
  'scripts',
]

// Every room (or corridor of a room) and the prefixes it may reach. The longest matching prefix of the importing file counts.
const allowed: Record<string, string[]> = {
  'git-gateway/': ['git-gateway/', 'registry/', 'sandbox/'],
  'build-workers/': ['build-workers/', 'registry/', 'sandbox/'],
  'proxy/': ['proxy/', 'registry/', 'sandbox/'],
  // An edge process knows the main process by its messages alone.
  'proxy/edge/': [
    ...[
      'proxy/edge/',
      'proxy/bundles/',
      'proxy/edge-messages.ts',
      'proxy/limits.ts',
      'proxy/port.ts',
      'proxy/free-cores.ts',
    ],
    ...['registry/', 'sandbox/'],
  ],
  'registry/': ['registry/'],
  'registry/api/': ['registry/'],
  'registry/console/': ['registry/'],
  'registry/rollouts/': ['registry/'],
  'registry/previews/': ['registry/'],
  'sandbox/': ['sandbox/', 'registry/config.ts', 'registry/errors.ts', 'registry/log.ts', 'registry/egress/'],
  'cli/': ['cli/'],
  'cli/up/': [
    'registry/app-databases.ts',
    'cli/',
    'registry/config.ts',
    'registry/errors.ts',
    'registry/log.ts',
    'registry/sql.ts',
    'registry/migrate.ts',
    'registry/secrets.ts',
    'registry/key-ring.ts',
    'registry/key-rotation.ts',
    'registry/tokens.ts',
    'registry/console-sessions.ts',
    'sandbox/host-tools.ts',
    'registry/agreement.ts',
    'registry/bundle-store/',
  ],
  // The doctor looks at the machine with what the platform itself uses: another implementation would prove another thing.
  'cli/up/doctor/': [
    'cli/',
    ...['registry/config.ts', 'registry/errors.ts', 'registry/sql.ts', 'registry/redis.ts', 'registry/bundle-store/'],
    'sandbox/',
  ],
  'cli/serve.ts': ['cli/', 'git-gateway/main.ts', 'build-workers/main.ts', 'registry/main.ts', 'proxy/main.ts'],
  'test/': [''],
  'bench/': [''],
  'demo/': ['demo/', 'test/support/', 'registry/errors.ts'],
  // What is made from the API's own description.
  'scripts/': ['scripts/', 'registry/config.ts', 'registry/api/openapi.ts', 'registry/api/schema-text.ts'],
}
// Inside registry/, the modules never reach up into the parts built on them; main.ts wires them.
const neverFromOutside = [
  'registry/api/',
  'registry/console/',
  'registry/rollouts/',
  'registry/previews/',
  'registry/main.ts',
]

const problems: string[] = []
for (const file of globSync(`{${rooms.join(',')}}/**/*.ts`, { cwd: root }).filter(
  (path) => !path.includes('fixtures/'),
)) {
  const rule = Object.keys(allowed)
    .filter((prefix) => file.startsWith(prefix))
    .sort((a, b) => b.length - a.length)[0]
  if (!rule) continue
  const source = readFileSync(join(root, file), 'utf8')
  for (const match of source.matchAll(/(?:from|import)\s*\(?\s*'(\.{1,2}\/[^']+)'/g)) {
    const target = relative(root, join(root, dirname(file), match[1] ?? ''))
    if (file.endsWith('.test.ts') && target.startsWith('test/support/')) continue
    const sealed = neverFromOutside.find((prefix) => target.startsWith(prefix))
    const mayEnter =
      !sealed ||
      file.startsWith(sealed) ||
      file === 'registry/main.ts' ||
      rule === 'cli/serve.ts' ||
      rule === 'scripts/' ||
      rule === 'test/' ||
      rule === 'bench/'
    if (!mayEnter || !allowed[rule]?.some((prefix) => target.startsWith(prefix)))
      problems.push(`${file} may not import ${target}`)
  }
}

for (const problem of problems) console.error(problem)
if (problems.length > 0) process.exit(1)
