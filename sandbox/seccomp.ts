/**
 * The system-call filter of sandboxed programs: classic BPF over `struct seccomp_data` (seccomp(2)), as bytes for bubblewrap. It leaves
 * what Node, compilers and package managers use, and takes away what has led out of containers: kernel keyrings, io_uring, bpf, perf,
 * mounts, further namespaces, ptrace, and every socket family but UNIX, INET, INET6 and NETLINK's routing part. Null where there is no
 * filter for the processor: the other walls stand alone there.
 */
export function seccompFilter(arch: string = process.arch): Buffer | null {
  if (arch !== 'x64') return null
  return assemble([
    ...load(archOffset),
    ...unlessEqual(0xc000003e, returning(killProcess)),
    ...load(numberOffset),
    // x32 calls carry this bit and pass by rules that compare numbers.
    ...ifAtLeast(0x40000000, returning(errno(ENOSYS))),
    // libc falls back to clone, whose flags are in a register where a filter can read them.
    ...ifEqual(435, returning(errno(ENOSYS))),
    ...refused.flatMap((number) => ifEqual(number, returning(errno(EPERM)))),
    ...ifEqual(41, socketRules()),
    ...ifEqual(53, socketRules()),
    ...ifEqual(56, [...load(argument(0)), ...ifAnyBit(newNamespaces, returning(errno(EPERM))), ...returning(allow)]),
    ...ifEqual(272, [...load(argument(0)), ...ifAnyBit(newNamespaces, returning(errno(EPERM))), ...returning(allow)]),
    ...ifEqual(16, [
      ...load(argument(1)),
      ...ifEqual(TIOCSTI, returning(errno(EPERM))),
      ...ifEqual(TIOCLINUX, returning(errno(EPERM))),
      ...returning(allow),
    ]),
    ...returning(allow),
  ])
}

// Numbers of x86-64: arch/x86/entry/syscalls/syscall_64.tbl.
const refused = [
  ...[101, 310, 311, 312, 438, 440], // ptrace, process_vm_readv, process_vm_writev, kcmp, pidfd_getfd, process_madvise
  ...[165, 166, 155, 161, 428, 429, 430, 431, 432, 433, 442, 467], // mount, umount2, pivot_root, chroot, open_tree … fspick, mount_setattr, open_tree_attr
  308, // setns
  ...[321, 298, 323], // bpf, perf_event_open, userfaultfd
  ...[425, 426, 427], // io_uring_setup, _enter, _register
  ...[248, 249, 250], // add_key, request_key, keyctl
  ...[175, 313, 176, 246, 320], // init_module, finit_module, delete_module, kexec_load, kexec_file_load
  ...[303, 304], // name_to_handle_at, open_by_handle_at
  ...[167, 168, 169, 170, 171], // swapon, swapoff, reboot, sethostname, setdomainname
  ...[164, 227, 305], // settimeofday, clock_settime, clock_adjtime
  ...[163, 179, 443], // acct, quotactl, quotactl_fd
  ...[172, 173, 154], // iopl, ioperm, modify_ldt
  ...[103, 153, 156, 180, 212, 300], // syslog, vhangup, _sysctl, nfsservctl, lookup_dcookie, fanotify_init
  ...[134, 136, 139], // uselib, ustat, sysfs
  ...[237, 238, 256, 279, 450], // mbind, set_mempolicy, migrate_pages, move_pages, set_mempolicy_home_node
]

const [EPERM, ENOSYS, EAFNOSUPPORT] = [1, 38, 97]
const [TIOCSTI, TIOCLINUX] = [0x5412, 0x541c]
const [AF_UNIX, AF_INET, AF_INET6, AF_NETLINK] = [1, 2, 10, 16]
// CLONE_NEWTIME (0x80) is a signal number in clone's flags and means nothing there; a time namespace changes no rights.
const newNamespaces = 0x7e020000

function socketRules(): Instruction[] {
  return [
    ...load(argument(0)),
    ...ifEqual(AF_NETLINK, [
      ...load(argument(2)),
      // NETLINK_ROUTE lists interfaces and addresses; netfilter, audit and the rest are the kernel's inside.
      ...unlessEqual(0, returning(errno(EAFNOSUPPORT))),
      ...returning(allow),
    ]),
    ...[AF_UNIX, AF_INET, AF_INET6].flatMap((family) => ifEqual(family, returning(allow))),
    ...returning(errno(EAFNOSUPPORT)),
  ]
}

// struct seccomp_data { int nr; __u32 arch; __u64 instruction_pointer; __u64 args[6]; }, little-endian: the low half comes first.
const [numberOffset, archOffset] = [0, 4]
const argument = (index: number) => 16 + 8 * index

const allow = 0x7fff0000
const killProcess = 0x80000000
const errno = (number: number) => 0x00050000 | number

// struct sock_filter { __u16 code; __u8 jt; __u8 jf; __u32 k; }
type Instruction = { code: number; jt: number; jf: number; k: number }

const load = (offset: number): Instruction[] => [{ code: 0x20, jt: 0, jf: 0, k: offset }]
const returning = (action: number): Instruction[] => [{ code: 0x06, jt: 0, jf: 0, k: action }]
const ifEqual = (k: number, then: Instruction[]) => [{ code: 0x15, jt: 0, jf: then.length, k }, ...then]
const unlessEqual = (k: number, then: Instruction[]) => [{ code: 0x15, jt: then.length, jf: 0, k }, ...then]
const ifAtLeast = (k: number, then: Instruction[]) => [{ code: 0x35, jt: 0, jf: then.length, k }, ...then]
const ifAnyBit = (k: number, then: Instruction[]) => [{ code: 0x45, jt: 0, jf: then.length, k }, ...then]

function assemble(instructions: Instruction[]): Buffer {
  const bytes = Buffer.alloc(instructions.length * 8)
  for (const [index, { code, jt, jf, k }] of instructions.entries()) {
    bytes.writeUInt16LE(code, index * 8)
    bytes.writeUInt8(jt, index * 8 + 2)
    bytes.writeUInt8(jf, index * 8 + 3)
    bytes.writeUInt32LE(k >>> 0, index * 8 + 4)
  }
  return bytes
}
