-- start_post_update: note that a run's post-update is running, unless another run's is.
-- KEYS  1 POST_UPDATE_RUNNING (string)
-- ARGV  1 runId   2 when the note expires, seconds: a lost report must not block POST_UPDATE for good
-- Returns STARTED (also when repeated for the same run) or RUNNING.
local running = redis.call('GET', KEYS[1])
if running and running ~= ARGV[1] then
  return 'RUNNING'
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return 'STARTED'
