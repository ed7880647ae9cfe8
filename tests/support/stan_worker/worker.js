// A mankeli of the STAN era: node-nats-streaming, one durable queue group, no chunk id in its reports of success.
// Environment: STAN_URI, STAN_TOKEN, REDIS_URI, CLIENT_ID, CHANNELS (separated by commas), STORE (a file, JSON lines),
// FAIL_IDS (ids of entities that it rejects, separated by commas).
'use strict'

const fs = require('fs')
const Redis = require('ioredis')
const stan = require('node-nats-streaming')

const GROUP = 'importer-api.workers'
const { STAN_URI, STAN_TOKEN, REDIS_URI, CLIENT_ID, CHANNELS, STORE, FAIL_IDS } = process.env
const failIds = new Set((FAIL_IDS || '').split(',').filter(Boolean))

let currentHash = null
let subscribed = false

const redis = new Redis(REDIS_URI)
const follower = new Redis(REDIS_URI)

const connection = stan.connect('importer-nats', CLIENT_ID, {
  url: STAN_URI,
  token: STAN_TOKEN,
  maxReconnectAttempts: -1,
  waitOnFirstConnect: true,
  stanPingInterval: 5000,
  stanMaxPingOut: 3
})

const publish = (channel, message) =>
  new Promise((resolve, reject) =>
    connection.publish(channel, JSON.stringify(message), (error, guid) => (error ? reject(error) : resolve(guid)))
  )

const subscribe = (channel, handle) => {
  const options = connection
    .subscriptionOptions()
    .setDeliverAllAvailable()
    .setManualAckMode(true)
    .setAckWait(60 * 1000)
    .setMaxInFlight(1)
    .setDurableName(GROUP)
  connection.subscribe(channel, GROUP, options).on('message', (message) => handle(channel, message))
}

const store = (channel, chunk) => {
  const bad = chunk.entities.find(({ id }) => failIds.has(id))
  if (bad) throw new Error(`rejected: ${bad.id}`)
  const lines = chunk.entities.map((entity) => JSON.stringify({ channel, hash: chunk.executionHash, entity }))
  fs.appendFileSync(STORE, lines.join('\n') + '\n')
}

const handleChunk = async (channel, message) => {
  await redis.ping() // a round trip, as that of the transaction which such a worker begins first
  const chunk = JSON.parse(message.getData())
  if (chunk.executionHash !== currentHash) {
    message.ack()
    return
  }
  let report
  try {
    store(channel, chunk)
    report = { status: 'OK', amount: chunk.entities.length, channel, executionHash: chunk.executionHash }
  } catch (error) {
    report = { ...chunk, status: 'FAIL', amount: 0, channel, stack: error.stack }
  }
  await publish('SCHEDULER_STATUS_CHANNEL', report)
  message.ack()
}

const handlePostUpdate = async (_, message) => {
  fs.appendFileSync(STORE, JSON.stringify({ postUpdate: JSON.parse(message.getData()) }) + '\n')
  await publish('POST_UPDATE_FINISH', { success: true })
  message.ack()
}

const learn = (hash) => {
  if (!hash) return
  currentHash = hash
  if (subscribed) return
  subscribed = true
  CHANNELS.split(',').forEach((channel) => subscribe(channel, handleChunk))
  console.log('subscribed')
}

connection.on('error', (error) => {
  console.error(error.message || error)
  process.exit(1)
})

connection.on('connect', async () => {
  await redis.set('lock.MIGRATIONS_LOCK', '1', 'EX', 30, 'NX')
  await redis.del('lock.MIGRATIONS_LOCK')
  subscribe('POST_UPDATE', handlePostUpdate)
  follower.on('message', (_, hash) => learn(hash))
  await follower.subscribe('CURRENT_EXECUTION_HASH')
  learn(await redis.get('CURRENT_EXECUTION_HASH'))
  console.log('ready')
})
