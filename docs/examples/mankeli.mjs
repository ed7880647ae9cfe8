// A mankeli in its simplest form: node mankeli.mjs ORI_PERSON_CHANNEL
// Needs: npm install @nats-io/transport-node @nats-io/jetstream redis
import { setTimeout as pause } from 'node:timers/promises'
import { connect } from '@nats-io/transport-node'
import { AckPolicy, jetstream, jetstreamManager } from '@nats-io/jetstream'
import { createClient } from 'redis'

const channel = process.argv[2]

// Your part: all of them or none, in one transaction; DELETED removes; never an older version over a newer one.
const store = async entities => console.log(`${channel}: ${entities.length} entities`)

const connection = await connect({ servers: process.env.NATS_URI, maxReconnectAttempts: -1 })
const current = createClient({ url: process.env.REDIS_URI })
current.on('error', error => console.error(`Redis: ${error.code ?? error.message}`)) // it reconnects by itself
await current.connect()
const js = jetstream(connection)
const manager = await jetstreamManager(connection)

// Durable, so that all processes of this mankeli share the work. No max_deliver: never give up on a chunk.
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
    // Nothing came; or the consumer went with the broker's store: make it again, as soon as its stream is there.
    consumer = await attach().catch(() => pause(1000, consumer))
    continue
  }
  const { executionHash, chunkId, entities } = message.json()

  // A chunk of an execution that was given up: its changes come again in a later one. Drop it.
  if (executionHash !== (await current.get('CURRENT_EXECUTION_HASH'))) {
    message.ack()
    continue
  }

  let feedback
  try {
    await store(entities)
    feedback = { status: 'OK', executionHash, chunkId, channel, amount: entities.length }
  } catch (error) {
    feedback = { status: 'FAIL', executionHash, chunkId, channel, amount: 0, stack: error.stack }
  }

  // Feedback first and confirmed, then the acknowledgement: the other way round a crash in between would lose the
  // feedback. This way the chunk comes again, and its second feedback changes nothing.
  await js.publish('SCHEDULER_STATUS_CHANNEL', JSON.stringify(feedback))
  message.ack()
}
