// A mankeli in its simplest form: node mankeli.mjs ORI_PERSON_CHANNEL
// Needs: npm install @nats-io/transport-node @nats-io/jetstream redis
import { connect } from '@nats-io/transport-node'
import { AckPolicy, jetstream, jetstreamManager } from '@nats-io/jetstream'
import { createClient } from 'redis'

const channel = process.argv[2]

// Your part: all of them or none, in one transaction; DELETED removes; never an older version over a newer one.
const store = async entities => console.log(`${channel}: ${entities.length} entities`)

const connection = await connect({ servers: process.env.NATS_URI })
const current = await createClient({ url: process.env.REDIS_URI }).connect()
const js = jetstream(connection)

// Durable, so that all processes of this mankeli share the work. No max_deliver: never give up on a chunk.
const durable_name = `mankeli-${channel}`
const manager = await jetstreamManager(connection)
await manager.consumers.add('IMPORTER', {
  durable_name,
  filter_subject: channel,
  ack_policy: AckPolicy.Explicit,
  ack_wait: 60 * 1_000_000_000 // nanoseconds
})
const consumer = await js.consumers.get('IMPORTER', durable_name)

for await (const message of await consumer.consume({ max_messages: 1 })) {
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
