-- rewind_ordinal: a service's ordinal is set back by an operator, and it is kept who did it, when, why and from where.
-- KEYS  1 ordinal (string)  2 rewinds (list, newest first)
-- ARGV  1 the ordinal that the operator saw   2 the ordinal to go back to   3 what is kept, JSON   4 how many to keep
-- Answers REWOUND, or MOVED where the ordinal is not the one that the operator saw. Ordinals are compared as text.
-- Safe at any time: an execution that began from the old ordinal is refused by advance_ordinal. Repeated, it answers
-- MOVED and changes nothing.
if (redis.call('GET', KEYS[1]) or '0') ~= ARGV[1] then
  return 'MOVED'
end
if ARGV[2] == '0' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[2])
end
redis.call('LPUSH', KEYS[2], ARGV[3])
redis.call('LTRIM', KEYS[2], 0, ARGV[4] - 1)
return 'REWOUND'
