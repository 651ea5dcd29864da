import { lstatSync, readFileSync, readlinkSync, realpathSync } from 'node:fs'
import { dirname, sep } from 'node:path'
import { codeOf } from '../registry/errors.ts'
import { seccompFilter } from './seccomp.ts'

export type Furnishing = {
  cwd: string
  env: Record<string, string>
  /** As the program sees itself: its own user and group. */
  user: { uid: number; gid: number }
  readable: string[]
  writable: string[]
  /** Writable, at `dataMount`. */
  dataDir?: string | undefined
  /** Addresses of name servers; null: the host's. */
  resolvers: string[] | null
}

/** Where a program finds the folder that is kept for it. */
export const dataMount = '/data'

/** What bubblewrap is told on its command line, and what it reads from the descriptors that the command line names. */
export type Furnished = { args: string[]; inputs: Buffer[] }

/**
 * A room with nothing in it but the system's programs, an `/etc` of a dozen files, an empty `/tmp`, its own processes, and the paths the
 * program was given, under their own names. Everything of it goes over descriptors from `firstDescriptor` on: a command line can be read
 * by every user of the host. `withUserNamespace` false: bubblewrap runs as root, and keeps what it takes to become another user inside.
 */
export function furnish(
  program: Furnishing,
  {
    firstDescriptor,
    withUserNamespace,
    chdir = program.cwd,
  }: { firstDescriptor: number; withUserNamespace: boolean; chdir?: string },
): Furnished {
  const inputs: Buffer[] = []
  const input = (content: string | Buffer): string => {
    inputs.push(Buffer.from(content))
    return String(firstDescriptor + inputs.length - 1)
  }
  const optionsDescriptor = input('')
  const filter = seccompFilter()
  const options = [
    ...(withUserNamespace ? ownUserNamespace(program.user) : stillRoot),
    ...['--unshare-ipc', '--unshare-pid', '--unshare-uts', '--unshare-cgroup-try', '--hostname', 'atelier'],
    ...['--as-pid-1', '--die-with-parent', '--new-session', '--clearenv'],
    ...Object.entries(program.env).flatMap(([name, value]) => ['--setenv', name, value]),
    ...systemFolders(),
    ...systemFiles.flatMap((path) => ['--ro-bind-try', path, path]),
    ...Object.entries(ownFiles(program)).flatMap(([path, text]) => [...open, '--ro-bind-data', input(text), path]),
    ...['--proc', '/proc', '--dev', '/dev'],
    ...scratchFolders.flatMap(([path, bytes]) => ['--perms', '1777', '--size', String(bytes), '--tmpfs', path]),
    ...['--remount-ro', '/dev'],
    ...givenPaths(program),
    ...(program.dataDir ? ['--bind', program.dataDir, dataMount] : []),
    ...(filter ? ['--seccomp', input(filter)] : []),
    ...['--remount-ro', '/', '--chdir', chdir],
  ]
  inputs[0] = Buffer.from(options.map((option) => `${option}\0`).join(''))
  return { args: ['--args', optionsDescriptor, '--'], inputs }
}

// What bubblewrap makes by the way is closed to all but its own user, who is root where root makes the room.
const open = ['--perms', '0644']
const openFolder = ['--perms', '0755', '--dir']

function ownUserNamespace({ uid, gid }: Furnishing['user']): string[] {
  return ['--unshare-user', '--disable-userns', '--uid', String(uid), '--gid', String(gid)]
}

const stillRoot = [
  ...['--cap-drop', 'ALL', '--cap-add', 'CAP_SETUID', '--cap-add', 'CAP_SETGID', '--cap-add', 'CAP_SETPCAP'],
]

// Where a distribution keeps /bin and its kind beside /usr and not in it, they are folders of their own.
function systemFolders(): string[] {
  const beside = ['/bin', '/sbin', '/lib', '/lib32', '/lib64', '/libx32'].flatMap((path) => {
    const kind = kindOf(path)
    if (kind === 'link') return ['--symlink', readlinkSync(path), path]
    return kind === 'folder' ? ['--ro-bind', path, path] : []
  })
  const made = ['/etc', '/var'].flatMap((path) => [...openFolder, path])
  return [...made, '--ro-bind', '/usr', '/usr', ...beside]
}

// Certificates, what the dynamic linker and libc look up, the choices behind /usr/bin/cc and its like, fonts.
const systemFiles = [
  ...['/etc/ssl', '/etc/ca-certificates', '/etc/pki', '/etc/alternatives', '/etc/fonts', '/etc/mime.types'],
  ...['/etc/ld.so.cache', '/etc/ld.so.conf', '/etc/ld.so.conf.d', '/etc/localtime', '/etc/timezone'],
  ...['/etc/nsswitch.conf', '/etc/host.conf', '/etc/gai.conf', '/etc/protocols', '/etc/services'],
]

function ownFiles({ user, env, resolvers }: Furnishing): Record<string, string> {
  const home = env['HOME'] ?? '/'
  return {
    '/etc/passwd': `root:x:0:0::/:/bin/false\napp:x:${user.uid}:${user.gid}::${home}:/bin/sh\n`,
    '/etc/group': `root:x:0:\napp:x:${user.gid}:\n`,
    '/etc/hosts': '127.0.0.1 localhost atelier\n::1 localhost\n',
    '/etc/resolv.conf': resolvers?.map((address) => `nameserver ${address}\n`).join('') ?? hostResolvers(),
  }
}

function hostResolvers(): string {
  try {
    return readFileSync('/etc/resolv.conf', 'latin1')
  } catch (thrown) {
    if (codeOf(thrown) === 'ENOENT') return ''
    throw thrown
  }
}

const scratchFolders: [path: string, bytes: number][] = [
  ['/tmp', 256 * 1_048_576],
  ['/var/tmp', 64 * 1_048_576],
  ['/run', 1_048_576],
  ['/dev/shm', 64 * 1_048_576],
]

// Upper folders first, so that one mounted inside another is not hidden by it. Programs go by real paths (Node resolves every module), so
// a path that leads over a symlink is there under both names.
function givenPaths({ cwd, readable, writable }: Furnishing): string[] {
  const writableByPath = new Map<string, boolean>()
  const give = (path: string, isWritable: boolean) => {
    for (const name of namesOf(path)) writableByPath.set(name, isWritable || writableByPath.get(name) === true)
  }
  for (const path of readable) give(path, false)
  for (const path of writable) give(path, true)
  const isGiven = [...writableByPath.keys()].some((path) => `${cwd}${sep}`.startsWith(`${path}${sep}`))
  if (!isGiven && cwd !== '/') give(cwd, true)
  const above = new Set([...writableByPath.keys()].flatMap(foldersAbove))
  return [
    ...[...above].flatMap((path) => [...openFolder, path]),
    ...[...writableByPath]
      .sort(([one], [other]) => one.length - other.length)
      .flatMap(([path, isWritable]) => [isWritable ? '--bind' : '--ro-bind', path, path]),
  ]
}

// Nothing is given of a path that is not there.
function namesOf(path: string): string[] {
  try {
    return [...new Set([path, realpathSync(path)])]
  } catch (thrown) {
    if (codeOf(thrown) === 'ENOENT') return []
    throw thrown
  }
}

// Upper ones first. What the system's folders hold is there already, and cannot be made.
function foldersAbove(path: string): string[] {
  const upper = dirname(path)
  if (upper === '/' || /^\/(usr|bin|sbin|lib|proc|dev|etc)/.test(upper)) return []
  return [...foldersAbove(upper), upper]
}

function kindOf(path: string): 'link' | 'folder' | 'nothing' {
  try {
    return lstatSync(path).isSymbolicLink() ? 'link' : 'folder'
  } catch (thrown) {
    if (codeOf(thrown) === 'ENOENT') return 'nothing'
    throw thrown
  }
}
