import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { chmod, chown, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, describe, expect, test, vi } from 'vitest'
import { connect, type Sql } from '../registry/sql.ts'
import { TestWorker } from '../test/support/build-worker.ts'

const files = {
  'index.html': 'one',
  'atelier.config.json': { database: { provision: true, preview: 'template', migrations: 'db' } },
  'db/1.sql': 'create table notes (text text);\ncreate extension pgcrypto;',
}

// Of each kind what an app may have; what is not ours to make (another's role, a superuser's extension) no app has.
const rich = `
  create extension pgcrypto;
  create extension hstore;
  create schema "Odd ""Names";
  create type mood as enum ('calm', 'cross');
  create domain positive as int check (value > 0);
  create type pair as (one int, two text);
  create table people (
    id int generated always as identity primary key,
    name text not null unique check (length(name) > 1),
    mood mood default 'calm',
    age positive,
    shouted text generated always as (upper(name)) stored,
    whispered text generated always as (lower(name)) virtual,
    tags text[], facts jsonb, raw bytea, at timestamptz, share numeric, ratio float8, twin pair, more hstore
  );
  insert into people (name, mood, age, tags, facts, raw, at, share, ratio, twin, more) values
    ('Ada', 'cross', 36, '{a,"b c",NULL}', '{"n": 1.50}', '\\x00ff0a5c', '1815-12-10 00:00:01.000001+00', 1e-30, 'NaN', '(1,"x,y")', 'a=>1'),
    (E'tab\\tline\\nback\\\\slash', null, null, null, null, '', 'infinity', 'NaN', 0.1::float8 + 0.2::float8, null, null),
    ('Żółć 🎈 \\N', 'calm', 1, '{}', '[]', null, '-infinity', 12345678901234567890.123456789, '-0', '(,)', '');
  alter table people alter column id restart with 100;
  create table "Odd ""Names"."Wörds; --" ("select" int references people, at int) ;
  insert into "Odd ""Names"."Wörds; --" values (1, 2);
  create table a (id serial primary key, b int);
  create table b (id serial primary key, a int references a deferrable initially deferred);
  alter table a add foreign key (b) references b;
  begin; insert into b (a) values (1); insert into a (b) values (1); commit;
  create table nothing ();
  insert into nothing default values; insert into nothing default values;
  create unlogged table quick (n int); insert into quick values (7);
  create table days (day date, n int) partition by range (day);
  create table days_1 partition of days for values from ('2026-01-01') to ('2026-02-01');
  create table days_2 partition of days for values from ('2026-02-01') to ('2026-03-01');
  insert into days select '2026-01-01'::date + n, n from generate_series(0, 50) n;
  create table base (n int); create table derived (m int) inherits (base);
  insert into base values (1); insert into derived values (2, 3);
  create table big (text text); insert into big select repeat(md5(n::text), 100000) from generate_series(1, 2) n;
  create function doubled(n int) returns int language sql immutable begin atomic select n * 2; end;
  create function counted() returns trigger language plpgsql as $f$ begin update tally set n = n + 1; return new; end $f$;
  create table tally (n int); insert into tally values (0);
  create trigger counting after insert on people for each row execute function counted();
  create procedure nothing_much() language sql as 'select 1';
  create index people_lower on people (lower(name)) where mood = 'cross';
  create statistics people_twin (dependencies) on mood, age from people;
  create view grown as select name, doubled(age) as doubled from people;
  create materialized view moods as select mood, count(*) from people group by mood;
  alter table quick enable row level security; create policy all_of_it on quick using (true);
  create rule no_delete as on delete to tally do instead nothing;
  create sequence loose increment 5; select nextval('loose'), nextval('loose');
  create collation plain (provider = builtin, locale = 'C');
  create aggregate total (int) (sfunc = int4pl, stype = int, initcond = '0');
  comment on table people is 'those who''ve been';
  comment on column people.name is E'first\\nname';
  create publication all_people for table people;
  select lo_from_bytea(4711, decode(repeat('00ff', 1200000), 'hex'));
`

/** What there is and whose it is, of each kind; and where sequences stand. */
const inventory = `
  select 'relation' as kind, c.oid::regclass::text as name, c.relkind::text || c.relpersistence::text as what, pg_get_userbyid(c.relowner) as owner
  from pg_class c where c.relnamespace::regnamespace::text !~ '^(pg_|information_schema)'
  union all select 'function', p.oid::regprocedure::text, md5(p.prosrc) || coalesce(md5(p.prosqlbody::text)::text, '') , pg_get_userbyid(p.proowner)
  from pg_proc p where p.pronamespace::regnamespace::text !~ '^(pg_|information_schema)' and p.prolang <> (select oid from pg_language where lanname = 'c')
  union all select 'type', t.oid::regtype::text, t.typtype::text, pg_get_userbyid(t.typowner) from pg_type t where t.typnamespace::regnamespace::text !~ '^(pg_|information_schema)'
  union all select 'constraint', conrelid::regclass::text || ' ' || conname, pg_get_constraintdef(oid) || convalidated::text, '' from pg_constraint where connamespace::regnamespace::text !~ '^(pg_|information_schema)'
  union all select 'trigger', tgrelid::regclass::text || ' ' || tgname, tgenabled::text, '' from pg_trigger where not tgisinternal
  union all select 'index', indexrelid::regclass::text, pg_get_indexdef(indexrelid), '' from pg_index where indrelid::regclass::text !~ '^(pg_|information_schema)'
  union all select 'policy', polname, polcmd::text, '' from pg_policy
  union all select 'extension', extname, extversion, pg_get_userbyid(extowner) from pg_extension where extname <> 'plpgsql'
  union all select 'comment', objoid::regclass::text, description, '' from pg_description where classoid = 'pg_class'::regclass and objoid >= 16384
  union all select 'publication', pubname, '', pg_get_userbyid(pubowner) from pg_publication
  union all select 'large object', m.oid::text, md5(lo_get(m.oid)), pg_get_userbyid(lomowner) from pg_largeobject_metadata m
  union all select 'sequence', sequencename, coalesce(last_value::text, 'none'), sequenceowner from pg_sequences
  union all select 'rows of ' || table_schema || '.' || table_name, '', md5(query_to_xml(format('select t::text from only %I.%I t order by 1', table_schema, table_name), true, false, '')::text), ''
  from information_schema.tables where table_type = 'BASE TABLE' and table_schema !~ '^(pg_|information_schema)' and table_name <> 'atelier_migrations'
  order by 1, 2, 3
`

describe('on the server that Atelier brings', async () => {
  const worker = await TestWorker.start()
  afterAll(() => worker[Symbol.asyncDispose]())
  const into = (database: string | null): Sql => {
    const url = new URL(worker.deps.config.databaseUrl ?? '')
    url.pathname = `/${database}`
    return connect(url.href, { max: 1, answerWithinMs: null })
  }

  test('the copy has all that production has, and it is the preview’s own', async () => {
    const app = await worker.createApp()
    const live = await worker.deploy(app, { ...files, 'db/1.sql': 'select 1;' })
    expect(live.deployment.stateReason).toBeNull()
    const production = into(live.deployment.database)
    await production.unsafe(`set role ${live.deployment.database}; ${rich}`)

    const first = await worker.build(await worker.push(app, { ...files, 'db/1.sql': 'select 1;' }, { branch: 'pr/1' }))
    expect(first.deployment.stateReason).toBeNull()
    const preview = into(first.deployment.database)
    const there = await listed(production, live.deployment.database)
    const here = await listed(preview, first.deployment.database)
    expect(there.length).toBeGreaterThan(100)
    expect(here).toEqual(there)
    expect(here.filter(({ kind }) => kind === 'large object')).toMatchObject([{ name: '4711', isOwn: true }])

    // What comes next is as it would be there, and is no more production's.
    const add = "insert into people (name) values ('next') returning id, shouted, whispered"
    expect([...((await preview.unsafe(`set role ${first.deployment.database}; ${add}`)).at(-1) ?? [])]).toEqual([
      { id: 100, shouted: 'NEXT', whispered: 'next' },
    ])
    expect(await preview`select n from tally`).toEqual([{ n: 1 }])
    expect(await production`select n from tally`).toEqual([{ n: 0 }])
    expect(await production`select count(*)::integer as people from people`).toEqual([{ people: 3 }])
    await Promise.all([production.end(), preview.end()])
  })

  test('B6: of a fork the database is its own and empty, whatever the config says', async () => {
    const app = await worker.createApp()
    const live = await worker.deploy(app, files)
    const production = into(live.deployment.database)
    await production`insert into notes values ('canary of production')`
    const fork = await worker.build(await worker.push(app, files, { branch: 'pr/1', isFork: true }))
    expect(fork.deployment.stateReason).toBeNull()
    expect(fork.log.join('\n')).toContain('a new one for the preview of pr/1')
    const own = into(fork.deployment.database)
    expect(await own`select * from notes`).toEqual([])
    const preview = await worker.build(await worker.push(app, files, { branch: 'pr/2' }))
    const copy = into(preview.deployment.database)
    expect(await copy`select * from notes`).toEqual([{ text: 'canary of production' }])
    await Promise.all([production.end(), own.end(), copy.end()])
  })

  test('what production writes meanwhile is in it wholly or not at all', async () => {
    const app = await worker.createApp()
    const live = await worker.deploy(app, {
      ...files,
      'db/1.sql': 'create table one (n int); create table two (n int);',
    })
    const production = into(live.deployment.database)
    await production`insert into one select n from generate_series(1, 200000) n`
    await production`insert into two select n from generate_series(1, 200000) n`
    let isCopied = false
    let written = 200_000
    const writing = (async () => {
      while (!isCopied) {
        written += 1
        await production.begin(async (both) => {
          await both`insert into two values (${written})`
          await both`insert into one values (${written})`
        })
      }
    })()
    const preview = await worker.build(
      await worker.push(
        app,
        { ...files, 'db/1.sql': 'create table one (n int); create table two (n int);' },
        { branch: 'pr/1' },
      ),
    )
    isCopied = true
    await writing
    expect(preview.deployment.stateReason).toBeNull()
    const copy = into(preview.deployment.database)
    const [sums] = await copy<{ one: number; two: number }[]>`
      select (select sum(n) from one)::bigint as one, (select sum(n) from two)::bigint as two
    `
    expect(sums?.one).toBe(sums?.two)
    expect(written).toBeGreaterThan(200_001)
    await Promise.all([production.end(), copy.end()])
  })

  test('a preview begins as a copy of production, which goes on meanwhile, and is not copied again', async () => {
    const app = await worker.createApp()
    const live = await worker.deploy(app, files)
    expect(live.deployment.stateReason).toBeNull()
    const production = into(live.deployment.database)
    await production`insert into notes select 'note ' || n from generate_series(1, 1000) n`
    const [{ pid } = { pid: 0 }] = await production<{ pid: number }[]>`select pg_backend_pid() as pid`

    const more = { ...files, 'db/2.sql': 'alter table notes add column more text;' }
    const first = await worker.build(await worker.push(app, more, { branch: 'pr/1' }))
    expect(first.deployment.stateReason).toBeNull()
    expect(first.log.join('\n')).toMatch(/ a new one for the preview of pr\/1, with what is in production's/)
    expect(first.deployment.migrations).toEqual(['2.sql'])
    const preview = into(first.deployment.database)
    expect(await preview`select count(*)::integer as notes, count(more)::integer as more from notes`).toEqual([
      { notes: 1000, more: 0 },
    ])
    expect(await production`select pg_backend_pid() as pid`).toEqual([{ pid }])

    await production`insert into notes values ('later')`
    await preview`delete from notes where text <> 'note 1'`
    const second = await worker.build(await worker.push(app, more, { branch: 'pr/1' }))
    expect(second.deployment).toMatchObject({ stateReason: null, database: first.deployment.database })
    expect(await preview`select text from notes`).toEqual([{ text: 'note 1' }])
    await Promise.all([production.end(), preview.end()])
  })

  test('a copy that fails is whole or not at all, and the next push makes it good', async () => {
    const app = await worker.createApp()
    const live = await worker.deploy(app, files)
    const production = into(live.deployment.database)
    // Not the app's own, so not readable for its role.
    await production.unsafe('create table locked (a int); revoke all on locked from public')
    const failed = await worker.build(await worker.push(app, files, { branch: 'pr/2' }))
    expect(failed.deployment).toMatchObject({ state: 'failed', errorCode: 'PROVISION_FAILED' })
    expect(failed.deployment.stateReason).toMatch(/cannot be copied for the preview: .*locked/)
    await production`drop table locked`
    const mended = await worker.build(await worker.push(app, files, { branch: 'pr/2' }))
    expect(mended.deployment.stateReason).toBeNull()
    expect(mended.log.join('\n')).toContain("with what is in production's")
    await production.end()
  })
})

// What comes with the distribution is older than the pg_dump that npm brings.
const bin = '/usr/lib/postgresql/15/bin'
describe.skipIf(!existsSync(join(bin, 'postgres')))('on an older server of somebody’s', async () => {
  const server = existsSync(join(bin, 'postgres')) ? await startServer() : null
  const worker = await TestWorker.start({ ATELIER_APPS_DATABASE_URL: server?.url ?? '' })
  afterAll(async () => {
    await worker[Symbol.asyncDispose]()
    await server?.close()
  })

  test('a preview begins as a copy of production', async () => {
    const app = await worker.createApp()
    const live = await worker.deploy(app, { ...files, 'db/2.sql': "insert into notes values ('kept')" })
    expect(live.deployment.stateReason).toBeNull()
    const preview = await worker.build(await worker.push(app, { ...files, 'db/2.sql': '' }, { branch: 'pr/1' }))
    expect(preview.deployment.stateReason).toBeNull()
    const url = new URL(server?.url ?? '')
    url.pathname = `/${preview.deployment.database}`
    const copy = connect(url.href, { max: 1 })
    expect(await copy`select text from notes`).toEqual([{ text: 'kept' }])
    await copy.end()
  })
})

type Listed = { kind: string; name: string; what: string; isOwn: boolean }

async function listed(sql: Sql, role: string | null): Promise<Listed[]> {
  const rows = await sql.unsafe<(Listed & { owner: string })[]>(inventory)
  return rows.map(({ kind, name, what, owner }) => ({ kind, name, what, isOwn: owner === role }))
}

async function startServer(): Promise<{ url: string; close(): Promise<void> }> {
  const isRoot = process.getuid?.() === 0
  const user = isRoot ? { uid: 65_534, gid: 65_534 } : {}
  const root = await mkdtemp('/tmp/pg15-')
  await writeFile(join(root, 'password'), 'pw')
  await chmod(root, 0o700)
  if (isRoot) for (const path of [root, join(root, 'password')]) await chown(path, 65_534, 65_534)
  const options = { ...user, cwd: '/', env: { LC_ALL: 'C', PATH: '/usr/bin:/bin' } }
  const init = ['-D', join(root, 'data'), '-U', 'postgres', `--pwfile=${join(root, 'password')}`]
  await promisify(execFile)(join(bin, 'initdb'), [...init, '-A', 'scram-sha-256', '--no-sync'], options)
  const settings = ['-D', join(root, 'data'), '-k', root, '-c', 'listen_addresses=', '-c', 'fsync=off']
  const server = spawn(join(bin, 'postgres'), settings, { ...options, stdio: 'ignore' })
  const url = `postgres://postgres:pw@localhost/postgres?host=${encodeURIComponent(root)}`
  const sql = connect(url, { max: 1 })
  await vi.waitFor(() => sql`select 1`, { timeout: 60_000 })
  await sql.end()
  return {
    url,
    close: async () => {
      server.kill('SIGQUIT')
      await once(server, 'exit')
      await rm(root, { recursive: true, force: true })
    },
  }
}
