// What of the kernel a walled-in program reaches (security.md B7). Node makes no system calls of its choosing, perl does, and
// perl-base is on every Debian. Node builtins only; it runs without its types inside the sandbox.
import { execFileSync } from 'node:child_process'
import { constants } from 'node:os'

export type Sighting = { probe: string; seen: string[] | null; note: string }

type Call = {
  /** What the report calls it. */
  name: string
  x64: number
  arm64: number
  /** Perl expressions, one for each argument; a string is handed over by address. */
  args: string[]
  /** One call for each of these, put before `args`, until one is let in. */
  each?: number[]
  /** What it does, if it does it, would last; it is tried in a process of its own. */
  lasts?: true
}

const zeros = (bytes: number) => `"\\0" x ${bytes}`
const newUser = '0x10000000'
const sigchld = '17'

// Each is given arguments with which the kernel, were it asked, would do nothing or say something other than "not permitted".
const calls: Call[] = [
  { name: 'socket AF_ALG', x64: 41, arm64: 198, args: ['38', '5', '0'] },
  { name: 'socket AF_VSOCK', x64: 41, arm64: 198, args: ['40', '1', '0'] },
  { name: 'socket AF_PACKET', x64: 41, arm64: 198, args: ['17', '3', '0'] },
  // All others but UNIX, INET, INET6 and NETLINK.
  { name: 'socket of other families', x64: 41, arm64: 198, args: ['2', '0'], each: otherFamilies() },
  { name: 'io_uring_setup', x64: 425, arm64: 425, args: ['8', zeros(120)] },
  // A map of one element.
  { name: 'bpf', x64: 321, arm64: 280, args: ['0', 'pack("L5", 2, 4, 4, 1, 0)', '20'] },
  // UFFD_USER_MODE_ONLY, which needs no privilege.
  { name: 'userfaultfd', x64: 323, arm64: 282, args: ['1'] },
  // A software clock of this process, kernel and hypervisor left out.
  {
    name: 'perf_event_open',
    x64: 298,
    arm64: 241,
    args: [`pack("LLQQQQQ", 1, 112, 0, 0, 0, 0, 0x60) . ${zeros(64)}`, '0', '-1', '-1', '0'],
  },
  { name: 'keyctl', x64: 250, arm64: 219, args: ['0', '-2', '1'] },
  { name: 'add_key', x64: 248, arm64: 217, args: ['"user"', '"atelier"', '"x"', '1', '-2'] },
  // Nobody has that process id.
  { name: 'ptrace', x64: 101, arm64: 117, args: ['16', '0x7ffffff0', '0', '0'] },
  { name: 'process_vm_readv', x64: 310, arm64: 270, args: ['$$', '0', '0', '0', '0', '0'] },
  // Whether one may mount is asked before whether there is such a file system.
  { name: 'mount', x64: 165, arm64: 40, args: ['"none"', '"/"', '"atelier-none"', '0', '0'] },
  { name: 'fsopen', x64: 430, arm64: 430, args: ['"tmpfs"', '0'] },
  { name: 'unshare NEWUSER', x64: 272, arm64: 97, args: [newUser], lasts: true },
  { name: 'unshare NEWNS', x64: 272, arm64: 97, args: ['0x20000'], lasts: true },
  { name: 'clone NEWUSER', x64: 56, arm64: 220, args: [`${newUser} | ${sigchld}`, '0', '0', '0', '0'], lasts: true },
  { name: 'clone3', x64: 435, arm64: 435, args: ['0', '0'] },
  { name: 'setns', x64: 308, arm64: 268, args: ['-1', '0'] },
  // Standard input is /dev/null; the kernel looks at the lower half of the number only.
  { name: 'ioctl TIOCSTI', x64: 16, arm64: 29, args: ['0', '0x5412', '"x"'] },
  { name: 'ioctl TIOCSTI, upper half set', x64: 16, arm64: 29, args: ['0', '0x7fffffff00005412', '"x"'] },
  { name: 'ioctl TIOCLINUX', x64: 16, arm64: 29, args: ['0', '0x541c', '"\\x03"'] },
  { name: 'open_by_handle_at', x64: 304, arm64: 265, args: ['-1', '0', '0'] },
  { name: 'init_module', x64: 175, arm64: 105, args: ['0', '0', '0'] },
  { name: 'kexec_load', x64: 246, arm64: 104, args: ['0', '0', '0', '0xffff'] },
  { name: 'swapon', x64: 167, arm64: 224, args: ['0', '0'] },
  { name: 'reboot', x64: 169, arm64: 142, args: ['0', '0', '0', '0'] },
  { name: 'settimeofday', x64: 164, arm64: 170, args: ['0', '0'] },
]

// The second table of 64-bit x86; other machines have none.
const x32: Call = { name: 'getpid of x32', x64: 0x40000000 + 39, arm64: -1, args: [] }

export const systemCallProbes = [...calls, x32].map(({ name }) => name)

/** Errors that say the kernel, or a filter before it, did not let the call in. */
const refusals = [constants.errno.EPERM, constants.errno.EACCES, constants.errno.ENOSYS, constants.errno.EAFNOSUPPORT]

/** Tries each call once. Without perl: whether a filter is there at all, as the kernel says it. */
export function trySystemCalls(status: string): Sighting[] {
  const architecture = process.arch === 'x64' || process.arch === 'arm64' ? process.arch : null
  const known = [...calls, x32].filter((call) => architecture !== null && call[architecture] >= 0)
  const tries = known.map((call) => ({ ...call, number: call[architecture ?? 'x64'] }))
  // A filter that kills takes the answers of all that come later: then each call has a process of its own.
  const results = runPerl(tries) ?? runPerl(tries.map((call) => ({ ...call, lasts: true })))
  if (results === null) return withoutPerl(status)

  return [...calls, x32].map((call) => {
    const result = results[known.indexOf(call)]
    if (result === undefined) return { probe: call.name, seen: null, note: `not a call of ${process.arch}` }
    return judge(call.name, result)
  })
}

function otherFamilies(): number[] {
  const named = [1, 2, 10, 16, 17, 38, 40]
  return Array.from({ length: 46 }, (_, family) => family).filter((family) => family > 0 && !named.includes(family))
}

type Try = Call & { number: number }

function expressionOf({ args, each, number }: Try): string {
  // Perl wants variables where the kernel is given an address.
  const passed = args.map((_, index) => `$a[${index}]`)
  const call = (first: string[]) => `syscall(${[number, ...first, ...passed].join(', ')})`
  const values = `my @a = (${args.join(', ')})`
  if (!each) return `${values}; ${call([])}`
  const isRefused = refusals.map((error) => `$! == ${error}`).join(' || ')
  return `${values}; for my $one (${each.join(', ')}) { my $r = ${call(['$one + 0'])}; return $r if $r != -1 || !(${isRefused}) } -1`
}

// One line for each call: the error's number, 0 when it works. A clone that works is ended by itself at once.
function runPerl(tries: Try[]): string[] | null {
  const list = tries.map((call) => `[${call.lasts ? 1 : 0}, sub { ${expressionOf(call)} }]`).join(',\n')
  const program = `
    $| = 1;
    my $main = $$;
    sub answer { my $try = shift; $! = 0; my $result = $try->(); my $error = $! + 0; return $result == -1 ? $error : 0 }
    for my $one (${list}) {
      my ($lasts, $try) = @$one;
      if (!$lasts) { print answer($try), "\\n"; next }
      pipe(my $read, my $write);
      my $child = fork();
      if ($child == 0) {
        my $self = $$;
        my $answer = answer($try);
        syswrite $write, $answer if $$ == $self;
        kill 9, $$;
      }
      close $write;
      my $answer = <$read>;
      waitpid $child, 0;
      print defined $answer ? $answer : 'killed', "\\n";
    }`
  try {
    const options = { stdio: ['ignore', 'pipe', 'ignore'] as ['ignore', 'pipe', 'ignore'], timeout: 10_000 }
    const lines = execFileSync('/usr/bin/perl', ['-e', program], options).toString('latin1').trim().split('\n')
    return lines.length === tries.length ? lines : null
  } catch {
    return null // no perl, or one that was ended: the caller says so
  }
}

function judge(probe: string, result: string): Sighting {
  if (result === 'killed') return { probe, seen: [], note: 'the caller was killed' }
  const error = Number(result)
  const name = Object.entries(constants.errno).find(([, number]) => number === error)?.[0] ?? `error ${error}`
  if (error !== 0 && refusals.includes(error)) return { probe, seen: [], note: name }
  return { probe, seen: [error === 0 ? 'it works' : `the kernel answers ${name}`], note: '' }
}

function withoutPerl(status: string): Sighting[] {
  const hasFilter = /^Seccomp:\s+2/m.test(status)
  return systemCallProbes.map((probe) =>
    hasFilter
      ? { probe, seen: null, note: 'no perl to try it with; a filter is active' }
      : { probe, seen: ['no system call filter'], note: 'no perl to try it with' },
  )
}
