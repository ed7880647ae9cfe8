-- begin_execution: a new execution takes over the ledger and the counters of its service.
-- KEYS  1 ordinal (string)   2 execution (string)  3 scheduled (string)  4 updated (string)
--       5 failed (string)    6 chunks (hash)       7 errors (hash)       8 CURRENT_EXECUTION_HASH (string)
-- ARGV  1 execution   2 the ordinal that the batch was fetched from   3 the chunks, JSON: {chunkId: size, …}
-- Returns BEGUN, or FENCED where the ordinal has moved since the fetch: then this batch is out of date, and its
-- entities could overwrite newer ones. Repeating it before the first publish is harmless.
if (redis.call('GET', KEYS[1]) or '0') ~= ARGV[2] then
  return 'FENCED'
end
local scheduled = 0
redis.call('DEL', KEYS[6], KEYS[7])
for chunk, size in pairs(cjson.decode(ARGV[3])) do
  redis.call('HSET', KEYS[6], chunk, string.format('%d', size))
  scheduled = scheduled + size
end
redis.call('SET', KEYS[2], ARGV[1])
redis.call('SET', KEYS[3], string.format('%d', scheduled))
redis.call('SET', KEYS[4], '0')
redis.call('SET', KEYS[5], '0')
redis.call('SET', KEYS[8], ARGV[1])
redis.call('PUBLISH', KEYS[8], ARGV[1])
return 'BEGUN'
