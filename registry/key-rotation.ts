import { setTimeout as pause } from 'node:timers/promises'
import { markKey } from './agreement.ts'
import type { KeyRing } from './key-ring.ts'
import { listOf, type ReadRow, type Row, readSealedRows, type SealedTable, sealedTables } from './sealed-values.ts'
import { sealAgain } from './secrets.ts'
import type { Db, Sql } from './sql.ts'

const batch = 200
const mostPasses = 20
const passPauseMs = 500

/**
 * Seals everything in the database again by the key that seals now, a batch in a transaction: whoever is interrupted goes on where it stopped by beginning again. What
 * parts sealed by the key before while that went on is found in another pass. Edges are told to read their routes again at the end, for these
 * hold sealed values. Returns how many values were sealed again.
 */
export async function sealAllAgain(
  sql: Sql,
  key: KeyRing,
  { onBatch = () => undefined }: { onBatch?: (values: number) => void } = {},
): Promise<number> {
  await markKey(sql, key)
  let total = 0
  for (let pass = 0; pass < mostPasses; pass += 1) {
    let found = 0
    for (const table of sealedTables)
      for await (const count of sealTableAgain(sql, table, key)) {
        found += count
        onBatch(total + found)
      }
    total += found
    if (found === 0) break
    await pause(passPauseMs)
  }
  if (total > 0)
    await sql`
      update routes
      set generation = generation + 1,
          updated_at = now()
    `
  return total
}

/** How many values each key has sealed, by its name in hexadecimal; `unnamed` are older than names. */
export async function countSealed(sql: Db, key: KeyRing): Promise<Map<string, number>> {
  const counts = new Map<string, number>()
  for (const table of sealedTables)
    for await (const rows of batchesOf(sql, table))
      for (const { sealed } of rows.flatMap((row) => table.valuesOf(row))) {
        const named = key.all().find(({ id }) => sealed.subarray(0, 8).equals(id))
        const name = named?.id.toString('hex') ?? 'unnamed'
        counts.set(name, (counts.get(name) ?? 0) + 1)
      }
  return counts
}

async function* sealTableAgain(sql: Sql, table: SealedTable, key: KeyRing): AsyncGenerator<number> {
  for await (const rows of batchesOf(sql, table)) {
    const changed = rows.map((row) => ({ row, count: sealRowAgain(table, row, key) })).filter(({ count }) => count > 0)
    if (changed.length === 0) continue
    await sql.begin(async (tx) => {
      for (const { row } of changed) await writeRow(tx, table, row)
    })
    yield changed.reduce((sum, { count }) => sum + count, 0)
  }
}

function sealRowAgain(table: SealedTable, row: Row, key: KeyRing): number {
  let count = 0
  for (const { context, sealed, put } of table.valuesOf(row)) {
    const again = sealAgain(key, context, sealed)
    if (!again) continue
    put(again)
    count += 1
  }
  return count
}

// A row that somebody changed since it was read is left to the next pass.
async function writeRow(tx: Db, { table, key, columns }: SealedTable, row: ReadRow): Promise<void> {
  const written = columns.filter((column) => row[camel(column)] !== null && isSealedColumn(row[camel(column)]))
  const values = Object.fromEntries(
    written.map((column) => {
      const value = row[camel(column)]
      return [column, value instanceof Uint8Array ? value : tx.json(JSON.parse(JSON.stringify(value)))]
    }),
  )
  await tx`
    update ${tx(table)}
    set ${tx(values)}
    where (${tx(key)}) = (${listOf(tx, row.rowKey)})
      and xmin::text = ${row.rowVersion}
  `
}

async function* batchesOf(sql: Db, table: SealedTable): AsyncGenerator<ReadRow[]> {
  for (let after: string[] | null = null; ; ) {
    const rows: ReadRow[] = await readSealedRows(sql, table, { after, limit: batch })
    if (rows.length > 0) yield rows
    const last = rows.at(-1)
    if (!last || rows.length < batch) return
    after = last.rowKey
  }
}

// Bytes, or JSON with bytes in it; what names a row is text.
function isSealedColumn(value: unknown): boolean {
  return typeof value === 'object'
}

function camel(name: string): string {
  return name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase())
}
