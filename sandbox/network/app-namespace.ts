import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { Writable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { hostTool } from '../host-tools.ts'
import { type NetworkNamespace, openNamespace } from './network.ts'

/** A namespace that a shell keeps open until it is let go of; then only who holds its descriptors does. */
export type HeldNamespace = { namespace: NetworkNamespace; pid: number; letGo(): Promise<void> }

export type NamespaceParts = {
  /** What `ip -batch` reads, and then what `nft -f` reads, inside. */
  links: string
  rules: string
}

/**
 * Makes a network namespace with these links and rules in it, 10 ms; as an ordinary user in a user namespace of its own. It has no name: when
 * the last process and descriptor of it are gone, so is the namespace with all its links. Throws with the words of what failed.
 */
export async function makeNamespace({ links, rules }: NamespaceParts): Promise<HeldNamespace> {
  const [unshare, ip, nft] = [needed('unshare', 'util-linux'), needed('ip', 'iproute2'), needed('nft', 'nftables')]
  const isRoot = process.getuid?.() === 0
  const user = isRoot ? [] : ['--user', '--map-current-user', '--keep-caps']
  const script = '"$0" -batch - <&3 && "$1" -f - <&4 && echo ready && read -r _'
  const child = spawn(unshare, [...user, '--net', '--', '/bin/sh', '-c', script, ip, nft], {
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' },
    stdio: ['pipe', 'pipe', 'pipe', 'pipe', 'pipe'],
    timeout: 20_000,
    killSignal: 'SIGKILL',
  })
  const exited = once(child, 'close')
  const said = child.stderr ? buffer(child.stderr) : Promise.resolve(Buffer.alloc(0))
  write(child, 3, links)
  write(child, 4, rules)
  const letGo = async () => {
    child.stdin?.end()
    await exited
  }
  try {
    await ready(child, exited, said)
    const pid = child.pid ?? 0
    return { namespace: openNamespace(pid, { ownsUser: !isRoot }), pid, letGo }
  } catch (thrown) {
    await letGo()
    throw thrown
  }
}

/**
 * Runs a program of the system to its end with this on its standard input, and these descriptors of ours from 3 on; throws with its first words when it
 * fails.
 */
export async function runTool(file: string, args: string[], input = '', descriptors: number[] = []): Promise<string> {
  const child = spawn(file, args, {
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' },
    stdio: ['pipe', 'pipe', 'pipe', ...descriptors],
    timeout: 20_000,
    killSignal: 'SIGKILL',
  })
  const { stdin, stdout: out, stderr: err } = child
  if (!stdin || !out || !err) throw new Error(`${file} cannot be started`)
  stdin.on('error', () => stdin.destroy()).end(input)
  const [[code], stdout, stderr] = await Promise.all([once(child, 'close'), buffer(out), buffer(err)])
  if (code === 0) return stdout.toString()
  throw new Error(`${file}: ${firstLine(stderr.toString()) || `ended with ${code}`}`)
}

export function needed(tool: string, packageName: string): string {
  const path = hostTool(tool)
  if (path) return path
  throw new Error(`${tool} is not installed (Debian: apt-get install ${packageName})`)
}

async function ready(child: ChildProcess, exited: Promise<unknown[]>, said: Promise<Buffer>): Promise<void> {
  const ended = exited.then(async ([code]) => {
    throw new Error(firstLine((await said).toString()) || `a network namespace cannot be made (${code})`)
  })
  await Promise.race([child.stdout ? once(child.stdout, 'data') : ended, ended])
  ended.catch(() => undefined) // it ends when it is let go of
}

function write(child: ChildProcess, descriptor: number, text: string): void {
  const pipe = child.stdio[descriptor]
  // Whoever does not read it has failed, and says so.
  if (pipe instanceof Writable) pipe.on('error', () => pipe.destroy()).end(text)
}

function firstLine(text: string): string {
  return text.trim().split('\n')[0]?.slice(0, 300) ?? ''
}
