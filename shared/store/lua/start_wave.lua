-- start_wave: tell workers on STAN that the pieces which follow belong to a new wave of an execution.
-- KEYS  1 CURRENT_EXECUTION_HASH (string)
-- ARGV  1 execution   2 wave: the execution, a colon and a nonce
-- Returns STARTED, or STALE where neither the execution nor a wave of it is current: another service may be imported now,
-- and a late chunk must not disturb it. Repeating it is harmless.
local current = redis.call('GET', KEYS[1])
if not current or (current ~= ARGV[1] and string.sub(current, 1, #ARGV[1] + 1) ~= ARGV[1] .. ':') then
  return 'STALE'
end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('PUBLISH', KEYS[1], ARGV[2])
return 'STARTED'
