-- announce_execution: mankelis are told once more which execution to work on, before its chunks are sent again.
-- CURRENT_EXECUTION_HASH is one for all services: a producer that woke up late may have begun a batch of another one.
-- KEYS  1 execution (string)  2 CURRENT_EXECUTION_HASH (string)
-- ARGV  1 execution
-- Answers ANNOUNCED, or STALE where the ledger is another execution's. Repeating it is harmless.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 'STALE'
end
redis.call('SET', KEYS[2], ARGV[1])
redis.call('PUBLISH', KEYS[2], ARGV[1])
return 'ANNOUNCED'
