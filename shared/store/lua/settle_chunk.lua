-- settle_chunk: a mankeli has stored a chunk; it leaves the ledger and its entities are counted, once.
-- KEYS  1 execution (string)  2 chunks (hash)  3 updated (string)
-- ARGV  1 execution   2 chunkId   3 size that the feedback claims   4 progress channel
-- Returns SETTLED, DUPLICATE (or unknown), STALE (another execution's) or MISMATCH (not the chunk's size).
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 'STALE'
end
local size = redis.call('HGET', KEYS[2], ARGV[2])
if not size then
  return 'DUPLICATE'
end
if size ~= ARGV[3] then
  return 'MISMATCH'
end
redis.call('HDEL', KEYS[2], ARGV[2])
redis.call('INCRBY', KEYS[3], size)
redis.call('PUBLISH', ARGV[4], redis.call('HLEN', KEYS[2]))
return 'SETTLED'
