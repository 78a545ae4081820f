// node-postgres and the state of its sessions: startup parameters, settings, locks. Prints what each client saw.
import { createRequire } from 'node:module'

const pg = createRequire(process.env.NODE_DRIVERS)('pg')
const [url, count] = [process.argv[2], Number(process.argv[3])]
const STARTUP = { statement_timeout: 45000, application_name: 'sessions', options: '-c work_mem=7MB -c geqo=off' }

async function work(client, number, tell) {
  const value = async (text, values) => Object.values((await client.query(text, values)).rows[0])[0]
  const shown = async (...names) => {
    const seen = []
    for (const name of names) seen.push(await value(`show ${name}`))
    return seen
  }
  const code = async (text) => client.query(text).then(() => 'none', (error) => error.code)
  const names = ['statement_timeout', 'application_name', 'work_mem', 'geqo']
  tell('startup', await shown(...names))
  await client.query("set statement_timeout = '40s'; set work_mem = '9MB'")
  await client.query("set time zone 'Asia/Tokyo'")
  tell('set', await shown(...names, 'timezone'))
  tell('zone', await value("select timestamptz '2026-01-01 00:00+00'::text"))
  await client.query('begin')
  await client.query("set local work_mem = '3MB'")
  await client.query("set statement_timeout = '30s'")
  tell('in a block', await shown('work_mem', 'statement_timeout'))
  await client.query('rollback')
  tell('rolled back', await shown('work_mem', 'statement_timeout'))
  await client.query('begin; set search_path = pg_catalog; commit')
  tell('path', await shown('search_path'))
  await client.query("select set_config('app.tenant', $1, false)", ["ten ant's"])
  tell('own setting', await value("select current_setting('app.tenant', true)"))
  await client.query('reset statement_timeout')
  tell('reset', await shown('statement_timeout'))
  await client.query('reset all')
  tell('reset all', await shown(...names, 'timezone', 'search_path'))
  await client.query("set statement_timeout = '200ms'")
  tell('timeout', await code('select pg_sleep(30)'))
  await client.query('reset statement_timeout')

  // Named statements live on, also when somebody else changes what they read.
  const table = `node_session_${number}`
  await client.query(`drop table if exists ${table}; create table ${table} (n int); insert into ${table} values (1)`)
  const named = { name: 'all', text: `select * from ${table} where n = $1`, values: [1] }
  for (let i = 0; i < 3; i++) tell('rows', (await client.query(named)).rows)
  const other = new pg.Client({ connectionString: url })
  await other.connect()
  await other.query(`alter table ${table} add column extra text default 'new'`)
  await other.end()
  // PostgreSQL refuses the stale plan; a pooler may plan again.
  const altered = await client.query(named).then((r) => r.rows, (error) => (error.code === '0A000' ? [{ n: 1, extra: 'new' }] : error.code))
  tell('altered', altered)
  await client.query(`drop table ${table}`)

  const key = 80000 + number
  await client.query('select pg_advisory_lock($1)', [key])
  tell('locked', await value("select count(*) from pg_locks where locktype = 'advisory' and objid = $1 and pid = pg_backend_pid()", [key]))
  tell('unlocked', await value('select pg_advisory_unlock($1)', [key]))
  await client.query('create temp table kept (n int)')
  for (let i = 0; i < 3; i++) await client.query('insert into kept values ($1)', [i])
  tell('temp table', await value('select sum(n) from kept'))
  await client.query('drop table kept')
  const heard = new Promise((resolve) => client.once('notification', (n) => resolve(n.payload)))
  await client.query(`listen node_${number}`)
  await client.query(`notify node_${number}, 'hello'`)
  tell('notified', await heard)
  await client.query('unlisten *')
}

async function client(number) {
  const lines = []
  const client = new pg.Client({ connectionString: url, ...STARTUP })
  await client.connect()
  try {
    await work(client, number, (what, seen) => lines.push(`${what}: ${JSON.stringify(seen)}`))
  } catch (error) {
    throw new Error(`client ${number}, after ${lines.at(-1)}: ${error}`)
  } finally {
    await client.end()
  }
  return lines.join('\n')
}

const results = await Promise.allSettled([...Array(count).keys()].map(client))
const failed = results.filter((r) => r.status === 'rejected')
const different = results.filter((r) => r.value !== results[0].value)
if (failed.length > 0) {
  console.error(`${failed.length} of ${count} clients failed, first: ${failed[0].reason}`)
  process.exit(1)
}
if (different.length > 0) {
  console.error(`a client saw\n${different[0].value}\nthe first saw\n${results[0].value}`)
  process.exit(1)
}
console.log(results[0].value)
