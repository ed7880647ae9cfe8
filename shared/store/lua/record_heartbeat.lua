-- record_heartbeat: a process reports that it is alive and what it is doing; those whose heartbeat expired are removed.
-- KEYS  1 the process's record (string)  2 all processes (sorted set: id, scored by when its heartbeat expires)
-- ARGV  1 id of the process   2 its record, JSON   3 how long the heartbeat is valid, milliseconds
-- Returns RECORDED. Uses Redis's own clock, since the processes' clocks may differ.
local now = redis.call('TIME')
local now_milliseconds = now[1] * 1000 + math.floor(now[2] / 1000)
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('ZADD', KEYS[2], now_milliseconds + ARGV[3], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now_milliseconds)
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return 'RECORDED'
