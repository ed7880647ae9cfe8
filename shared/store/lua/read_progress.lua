-- read_progress: the execution that owns the ledger, its counters and what is outstanding, all at one moment. Changes nothing.
-- KEYS  1 execution (string)  2 scheduled (string)  3 updated (string)  4 failed (string)
--       5 chunks (hash)       6 errors (hash)
-- Returns {execution, scheduled, updated, failed, chunks, {chunkId, error text, …}}. The chunks are JSON,
-- [chunkId, size, …] or {}: a client takes 50 times as long to parse as many replies. The error texts are read only once
-- nothing is outstanding, when they are needed; a missing counter is returned as -1.
local chunks = redis.call('HGETALL', KEYS[5])
return {
  redis.call('GET', KEYS[1]) or '',
  tonumber(redis.call('GET', KEYS[2])) or -1,
  tonumber(redis.call('GET', KEYS[3])) or -1,
  tonumber(redis.call('GET', KEYS[4])) or -1,
  cjson.encode(chunks),
  #chunks == 0 and redis.call('HGETALL', KEYS[6]) or {},
}
