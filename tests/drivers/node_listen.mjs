// LISTEN with node-postgres as it comes: URL and number of clients as arguments. Each client hears what is for it and
// what is for all, in order, also while it works. NODE_DRIVERS names the folder of its modules.
import { createRequire } from 'node:module'

const pg = createRequire(process.env.NODE_DRIVERS)('pg')
const [url, count] = [process.argv[2], Number(process.argv[3])]
const PATIENCE = 60_000

function check(what, seen, expected) {
  const [a, b] = [JSON.stringify(seen), JSON.stringify(expected)]
  if (a !== b) throw new Error(`${what}: expected ${b}, got ${a}`)
}

class Listener {
  constructor(number) {
    this.number = number
    this.me = `own_${number}`
    this.also = `also_${number}`
    this.heard = []
    this.wake = () => {}
    this.client = new pg.Client({ connectionString: url })
    this.client.on('notification', ({ channel, payload }) => {
      this.heard.push([channel, payload])
      this.wake()
    })
  }

  async hears(what, ...expected) {
    const late = setTimeout(() => this.wake(new Error(`${what}: heard ${JSON.stringify(this.heard)}`)), PATIENCE)
    while (this.heard.length < expected.length) {
      await new Promise((resolve, reject) => {
        this.wake = (error) => (error ? reject(error) : resolve())
      })
    }
    clearTimeout(late)
    check(what, this.heard.splice(0, expected.length), expected)
  }

  async listen() {
    await this.client.connect()
    await this.client.query(`listen ${this.me}`)
    await this.client.query(`listen ${this.also}`)
    await this.client.query('listen everybody')
    await this.client.query(`notify ${this.me}, 'to myself'`)
    await this.hears('own', [this.me, 'to myself'])
  }

  async work() {
    const { me, client } = this
    await this.hears('from outside', ['everybody', 'hello'], [me, `hello ${this.number}`])
    await client.query('begin')
    await client.query('select pg_notify($1, $2)', [me, 'in a block'])
    await client.query(`notify ${me}, 'behind it'`)
    await client.query('commit')
    await this.hears('in a block', [me, 'in a block'], [me, 'behind it'])
    await client.query(`unlisten ${this.also}`)
    await client.query(`notify ${this.also}, 'too late'`)
    await client.query(`notify ${me}, 'last'`)
    await this.hears('unlistened', [me, 'last'])
    check('works on', (await client.query('select $1::int as n', [this.number])).rows, [{ n: this.number }])
    await client.end()
  }
}

const clients = [...Array(count).keys()].map((n) => new Listener(n))
await Promise.all(clients.map((client) => client.listen()))
const sender = new pg.Client({ connectionString: url })
await sender.connect()
await sender.query('begin')
await sender.query("notify everybody, 'hello'")
for (const { me, number } of clients) await sender.query('select pg_notify($1, $2)', [me, `hello ${number}`])
await sender.query('commit')
await sender.end()
const results = await Promise.allSettled(clients.map((client) => client.work()))
const failed = results.filter((r) => r.status === 'rejected')
if (failed.length > 0) {
  console.error(`${failed.length} of ${count} clients failed, first: ${failed[0].reason}`)
  process.exit(1)
}
