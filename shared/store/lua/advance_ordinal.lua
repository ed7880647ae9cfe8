-- advance_ordinal: everything of a batch is settled; the ordinal moves to the batch's greatest.
-- KEYS  1 ordinal (string)  2 execution (string)  3 scheduled (string)  4 updated (string)
--       5 chunks (hash)     6 errors (hash)
-- ARGV  1 execution   2 the ordinal that the batch was fetched from   3 the batch's greatest ordinal
-- Returns ADVANCED, ALREADY (it was done before, the reply was lost) or FENCED: the ledger is another execution's,
-- not everything is settled, or the ordinal has moved since the fetch. Ordinals are compared as text: Lua's numbers are
-- doubles, exact only up to 2^53. The error texts may quote personal data and are in dead letters by now: they are deleted.
if redis.call('GET', KEYS[2]) ~= ARGV[1] then
  return 'FENCED'
end
local stored = redis.call('GET', KEYS[1]) or '0'
if stored ~= ARGV[2] then
  return stored == ARGV[3] and 'ALREADY' or 'FENCED'
end
local scheduled = redis.call('GET', KEYS[3])
if not scheduled or redis.call('GET', KEYS[4]) ~= scheduled then
  return 'FENCED'
end
if redis.call('EXISTS', KEYS[5]) == 1 then
  return 'FENCED'
end
redis.call('SET', KEYS[1], ARGV[3])
redis.call('DEL', KEYS[6])
return 'ADVANCED'
