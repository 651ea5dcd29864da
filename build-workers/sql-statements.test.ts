import { expect, test } from 'vitest'
import { isTransactionControl, sqlStatements } from './sql-statements.ts'

const lines = (text: string) => sqlStatements(text).map(({ line }) => line)

test.each<[string, string, number[]]>([
  ['one, with and without its semicolon', 'select 1', [1]],
  ['nothing but comments', '-- a; b\n/* c; /* d; */ e; */\n;\n', []],
  ['several, each where it begins', '\n-- first\nselect 1;\n\n/* second\n*/ select\n 2; select 3', [3, 6, 7]],
  ['strings', "select ';', E'it\\';s', 'it'';s', \";\";\nselect 2", [1, 2]],
  ['dollar quotes', 'do $$ begin; end $$;\ndo $a$ $$;\n; $a$;\nselect 1', [1, 2, 4]],
  ['a name with dollars in it', 'select a$1$b;\nselect 2', [1, 2]],
  ['a rule', 'create rule r as on insert to t do (select 1; select 2);\nselect 1', [1, 2]],
  [
    'a function in SQL’s own words',
    'create function f() returns int begin atomic\n select case when true then 1 end;\n select 2;\nend;\nselect 1',
    [1, 5],
  ],
  ['a string that never ends', "select 'a;\nselect 2", [1]],
])('finds the statements of %s', (_, text, expected) => {
  expect(lines(text)).toEqual(expected)
})

test('knows what begins and ends transactions, and what only reads like it', () => {
  const control = (text: string) => sqlStatements(text).filter(isTransactionControl).length
  expect(control('BEGIN; start transaction; commit; end; rollback; abort; prepare transaction $$a$$')).toBe(7)
  expect(control('savepoint a; rollback to a; prepare q as select 1; create table "begin" (a int)')).toBe(0)
  expect(control('create function f() returns int begin atomic select 1; end')).toBe(0)
})
