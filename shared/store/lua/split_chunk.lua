-- split_chunk: a mankeli failed on a chunk of several entities; its two halves replace it in the ledger.
-- KEYS  1 execution (string)  2 chunks (hash)
-- ARGV  1 execution   2 chunkId   3 id of the larger half   4 id of the other half   5 progress channel
-- Returns SPLIT, SINGLE (one entity, for fail_entity), DUPLICATE (or unknown) or STALE.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 'STALE'
end
local size = tonumber(redis.call('HGET', KEYS[2], ARGV[2]))
if not size then
  return 'DUPLICATE'
end
if size == 1 then
  return 'SINGLE'
end
local larger = math.ceil(size / 2)
redis.call('HDEL', KEYS[2], ARGV[2])
redis.call('HSET', KEYS[2], ARGV[3], larger, ARGV[4], size - larger)
redis.call('PUBLISH', ARGV[5], 'split')
return 'SPLIT'
