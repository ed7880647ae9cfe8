// A minimal mankeli: node mankeli.mjs ORI_PERSON_CHANNEL
// Requires: npm install @nats-io/transport-node @nats-io/jetstream redis
import { setTimeout as pause } from 'node:timers/promises'
import { connect } from '@nats-io/transport-node'
import { AckPolicy, jetstream, jetstreamManager } from '@nats-io/jetstream'
import { createClient } from 'redis'

const channel = process.argv[2]

// Replace this: store all or none, in one transaction; remove DELETED ones; keep the newer version of each.
const store = async entities => console.log(`${channel}: ${entities.length} entities`)

const uri = new URL(process.env.NATS_URI)
const connection = await connect({
  servers: uri.host,
  user: decodeURIComponent(uri.username) || undefined,
  pass: decodeURIComponent(uri.password),
  tls: uri.protocol === 'tls:' ? {} : undefined, // with it, a server without TLS is sent nothing
  maxReconnectAttempts: -1
})
const current = createClient({ url: process.env.REDIS_URI })
current.on('error', error => console.error(`Redis: ${error.code ?? error.message}`)) // the client reconnects by itself
await current.connect()
const js = jetstream(connection)
const manager = await jetstreamManager(connection, { checkAPI: false }) // the shipped user may not use it

// Durable: all processes of this mankeli share the work. No max_deliver: a chunk is redelivered until acknowledged.
const durable_name = `mankeli-${channel}`
const attach = async () => {
  await manager.consumers.add('IMPORTER', {
    durable_name,
    filter_subject: channel,
    ack_policy: AckPolicy.Explicit,
    ack_wait: 60 * 1_000_000_000 // nanoseconds
  })
  return js.consumers.get('IMPORTER', durable_name)
}

let consumer = await attach()
while (true) {
  const message = await consumer.next({ expires: 30_000 }).catch(() => null)
  if (message === null) {
    // No message, or the consumer is gone with the broker's store: create it again, as soon as its stream exists.
    consumer = await attach().catch(() => pause(1000, consumer))
    continue
  }
  const executionHash = message.headers?.get('Importer-Execution')
  const chunkId = message.headers?.get('Importer-Chunk')

  // Discard a chunk of an obsolete execution: its changes are sent again in a later one.
  if (executionHash !== (await current.get('CURRENT_EXECUTION_HASH'))) {
    message.ack()
    continue
  }

  // The headers, not the body: a chunk that cannot be parsed must be reported like one that cannot be stored.
  let feedback
  try {
    const { entities } = message.json()
    await store(entities)
    feedback = { status: 'OK', executionHash, chunkId, channel, amount: entities.length }
  } catch (error) {
    feedback = { status: 'FAIL', executionHash, chunkId, channel, amount: 0, stack: error.stack }
  }

  // Acknowledge only after the feedback is confirmed: in the reverse order a crash in between would lose the
  // feedback. In this order the chunk is redelivered, and its second feedback changes nothing.
  await js.publish('SCHEDULER_STATUS_CHANNEL', JSON.stringify(feedback))
  message.ack()
}
