-- release_lock: release the producer's lock, if the caller still holds it.
-- KEYS  1 lock (string)
-- ARGV  1 token of the holder
-- Returns RELEASED or TAKEN (another holds it, or it has expired).
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 'TAKEN'
end
redis.call('DEL', KEYS[1])
return 'RELEASED'
