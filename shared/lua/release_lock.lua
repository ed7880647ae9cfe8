-- release_lock: gives the producer's lock back, if it still is the caller's.
-- KEYS  1 lock (string)
-- ARGV  1 token of the holder
-- Answers RELEASED or TAKEN (by another, or by nobody).
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 'TAKEN'
end
redis.call('DEL', KEYS[1])
return 'RELEASED'
