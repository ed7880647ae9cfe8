-- rewind_ordinal: an operator moves a service's ordinal back; who did it, when, why and from where is kept.
-- KEYS  1 ordinal (string)  2 rewinds (list, newest first)
-- ARGV  1 the ordinal that the operator saw   2 the ordinal to move back to   3 what is kept, JSON   4 how many to keep
-- Returns REWOUND, or MOVED where the ordinal is not the one that the operator saw. Ordinals are compared as text.
-- Safe at any time: an execution that began from the old ordinal is fenced by advance_ordinal. Repeated, it returns
-- MOVED and changes nothing.
if (redis.call('GET', KEYS[1]) or '0') ~= ARGV[1] then
  return 'MOVED'
end
-- First what can fail: nothing is moved without a record of it.
redis.call('LPUSH', KEYS[2], ARGV[3])
redis.call('LTRIM', KEYS[2], 0, ARGV[4] - 1)
if ARGV[2] == '0' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[2])
end
return 'REWOUND'
