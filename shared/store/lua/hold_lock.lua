-- hold_lock: take the producer's lock, or renew it. One script for both, so that repeating it after a
-- lost reply cannot lock its own holder out, as a repeated SET NX would.
-- KEYS  1 lock (string)
-- ARGV  1 token of the holder   2 how long to hold it, milliseconds
-- Returns HELD or TAKEN (by another).
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  return 'TAKEN'
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 'HELD'
