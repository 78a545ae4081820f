// node-postgres as it comes: URL and number of clients as arguments. NODE_DRIVERS names the folder of its modules.
import { createRequire } from 'node:module'

const pg = createRequire(process.env.NODE_DRIVERS)('pg')
const [url, count] = [process.argv[2], Number(process.argv[3])]

function check(what, seen, expected) {
  const [a, b] = [JSON.stringify(seen), JSON.stringify(expected)]
  if (a !== b) throw new Error(`${what}: expected ${b}, got ${a}`)
}

async function client(number) {
  const me = `client-${number}`
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    for (let i = 0; i < 10; i++) {
      const unnamed = await client.query('select $1::text as who, $2::int + 1 as n', [me, i])
      check('unnamed', unnamed.rows, [{ who: me, n: i + 1 }])
      const named = await client.query({ name: 'greet', text: "select $1::text || '!' as who", values: [me] })
      check('named', named.rows, [{ who: `${me}!` }])
    }
    await client.query('begin')
    await client.query('create temp table scratch (n int) on commit drop')
    for (let i = 0; i < 5; i++) await client.query('insert into scratch values ($1)', [i])
    check('rows', (await client.query('select sum(n)::int as sum from scratch')).rows, [{ sum: 10 }])
    await client.query('commit')
    await client.query('select 1 / $1::int', [0]).then(
      () => { throw new Error('division by zero went through') },
      (error) => check('error', error.code, '22012'),
    )
    check('several', (await client.query('select 1 as a; select 2 as a')).map((r) => r.rows[0].a), [1, 2])
    const many = await Promise.all([...Array(10).keys()].map((i) => client.query('select $1::int as i', [i])))
    check('queued', many.map((r) => r.rows[0].i), [...Array(10).keys()])
  } finally {
    await client.end()
  }
}

const results = await Promise.allSettled([...Array(count).keys()].map(client))
const failed = results.filter((r) => r.status === 'rejected')
if (failed.length > 0) {
  console.error(`${failed.length} of ${count} clients failed, first: ${failed[0].reason}`)
  process.exit(1)
}

const pool = new pg.Pool({ connectionString: url, max: 5 })
const sums = await Promise.all([...Array(20).keys()].map((i) => pool.query('select $1::int + 1 as n', [i])))
check('pool', sums.map((r) => r.rows[0].n), [...Array(20).keys()].map((i) => i + 1))
await pool.end()
