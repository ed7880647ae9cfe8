-- beat: a process says that it is alive, and what it does; those that fell silent are forgotten.
-- KEYS  1 what this process says (string)  2 all processes (sorted set: id, by when it counts as dead)
-- ARGV  1 id of the process   2 what it says, JSON   3 how long that holds, milliseconds
-- Answers BEATEN. By Redis's own clock, since the processes' clocks may differ.
local now = redis.call('TIME')
local now_milliseconds = now[1] * 1000 + math.floor(now[2] / 1000)
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('ZADD', KEYS[2], now_milliseconds + ARGV[3], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now_milliseconds)
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return 'BEATEN'
