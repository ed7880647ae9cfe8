-- fail_entity: a mankeli failed on a chunk of one entity; it is settled as failed, and its error text is kept.
-- KEYS  1 execution (string)  2 chunks (hash)  3 updated (string)  4 failed (string)  5 errors (hash)
-- ARGV  1 execution   2 chunkId   3 error text   4 progress channel
-- Returns FAILED, DUPLICATE (or unknown), STALE, or MISMATCH where the chunk has more than one entity.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 'STALE'
end
local size = redis.call('HGET', KEYS[2], ARGV[2])
if not size then
  return 'DUPLICATE'
end
if size ~= '1' then
  return 'MISMATCH'
end
redis.call('HDEL', KEYS[2], ARGV[2])
redis.call('HSET', KEYS[5], ARGV[2], ARGV[3])
redis.call('INCRBY', KEYS[3], 1)
redis.call('INCRBY', KEYS[4], 1)
redis.call('PUBLISH', ARGV[4], redis.call('HLEN', KEYS[2]))
return 'FAILED'
