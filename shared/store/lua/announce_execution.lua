-- announce_execution: tell mankelis once more which execution to work on, before its chunks are sent again.
-- All services share CURRENT_EXECUTION_HASH: a producer that was paused may have begun a batch of another service.
-- KEYS  1 execution (string)  2 CURRENT_EXECUTION_HASH (string)
-- ARGV  1 execution
-- Returns ANNOUNCED, or STALE where the ledger is another execution's. Repeating it is harmless.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 'STALE'
end
redis.call('SET', KEYS[2], ARGV[1])
redis.call('PUBLISH', KEYS[2], ARGV[1])
return 'ANNOUNCED'
